"""Files: named arrays with a header in one safetensors file, written all or not."""
