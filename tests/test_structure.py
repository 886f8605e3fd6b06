"""The shape of the project: sizes, direction of imports, one name an op, symbols."""

import ast
import re
import statistics
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "fastconv"
KERNEL_HOST_FILES = {"cpu_backend", "isa", "team", "threads"}  # compiled once

pytestmark = pytest.mark.skipif(
    not (ROOT / "src").exists() or not PACKAGE.exists(), reason="needs the source tree"
)


def files(*patterns: str) -> list[Path]:
    found = chain.from_iterable(ROOT.glob(pattern) for pattern in patterns)
    return sorted(path for path in found if path.is_file())


PYTHON = files("python/**/*.py", "tests/**/*.py", "bench/**/*.py", "examples/**/*.py")
CPP = files(*(f"{d}/**/*{s}" for d in ("include", "src", "bench", "examples")
              for s in (".h", ".cpp", ".cu", ".cuh")))  # fmt: skip


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def none(faults: list[str]) -> None:
    """Fails with all faults, one a line."""
    assert not faults, "\n" + "\n".join(faults)


# Sizes


def python_functions(path: Path) -> dict[str, int]:
    """Lines of each function without its docstring; nested ones count twice."""
    sizes = {}
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                doc = node.body[0]
                size -= doc.end_lineno - doc.lineno + 1
            sizes[f"{name(path)}:{node.lineno} {node.name}"] = size
    return sizes


def without_comments(source: str) -> str:
    """C++ with comments and strings blanked, in the same lines."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\''
    return re.sub(pattern, lambda m: "\n" * m[0].count("\n"), source, flags=re.DOTALL)


_NO_FUNCTION = re.compile(
    r"\b(namespace|class|struct|union|enum|extern)\b[^()]*$|=\s*$"
)


def cpp_functions(path: Path) -> dict[str, int]:
    """Lines of each function, found by its braces; lambdas count in the function."""
    source = without_comments(re.sub(r"(?m)^\s*#.*(\\\n.*)*", "", text(path)))
    sizes: dict[str, int] = {}
    depth = 0
    inside: tuple[int, int, str] | None = None  # depth, first line, name
    head = 0
    for match in re.finditer(r"[{};]", source):
        before = source[head : match.start()]
        if match[0] == "{":
            if inside is None and "(" in before and not _NO_FUNCTION.search(before):
                line = source.count("\n", 0, match.start() - len(before.lstrip())) + 1
                called = re.search(r"([\w~:]+|operator\S+)\s*\(", before)
                inside = (depth, line, called[1] if called else "?")
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if inside and depth == inside[0]:
                last = source.count("\n", 0, match.start()) + 1
                sizes[f"{name(path)}:{inside[1]} {inside[2]}"] = last - inside[1] + 1
                inside = None
        head = match.end()
    return sizes


def test_file_sizes():
    lengths = {name(path): len(text(path).splitlines()) for path in PYTHON + CPP}
    none([f"{file}: {n} lines > 600" for file, n in lengths.items() if n > 600])
    assert statistics.median(lengths.values()) <= 200


def test_columns():
    faults = []
    for path in PYTHON + CPP:
        limit = 88 if path.suffix == ".py" else 100
        for number, line in enumerate(text(path).splitlines(), 1):
            if len(line) > limit and "://" not in line:
                faults.append(f"{name(path)}:{number}: {len(line)} columns > {limit}")
    none(faults)


@pytest.mark.parametrize("language", ["Python", "C++"])
def test_function_sizes(language):
    paths = [p for p in PYTHON if PACKAGE in p.parents] if language == "Python" else CPP
    count = python_functions if language == "Python" else cpp_functions
    sizes: dict[str, int] = {}
    for path in paths:
        sizes |= count(path)
    assert len(sizes) > 100, "the functions were not found"
    none([f"{where}: {n} lines > 120" for where, n in sizes.items() if n > 120])
    assert statistics.median(sizes.values()) <= 12
    assert statistics.quantiles(sizes.values(), n=10)[-1] <= 40


def test_graph_is_small():
    sizes = {name(p): len(text(p).splitlines()) for p in PACKAGE.glob("graph/**/*.py")}
    assert sum(sizes.values()) < 1800, sizes


# Imports. A module may import those of a lower rank, and its own neighbours.

RANKS = (
    {"_core", "errors", "config", "operators", "resampling", "tree"},
    {
        "machine",
        "seeds",
        "plot",
        "data",
        "datasets",
        "custom_objects",
        "io",
        "mixed_precision",
    },
    {"graph"},
    {"execution"},
    {"ops", "reference"},
    {"initializers", "regularizers", "constraints", "activations", "random"},
    {"layers"},
    {
        "training",
        "models",
        "optimizers",
        "losses",
        "metrics",
        "callbacks",
        "explain",
        "adversarial",
        "freezing",
        "quantization",
        "transfer",
        "onnx",
        "weights",
    },
    {"applications", "opening", "saving", "utils"},
    {"backend", "preprocessing"},
    {"cli"},
)
RANK = {module: rank for rank, modules in enumerate(RANKS) for module in modules}
TOP = {"__init__", "__main__"}  # they may import anything


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and first part, below fastconv, of all imports."""
    return [
        (line, target.partition(".")[2].partition(".")[0])
        for line, target in full_imports(path)
    ]


def full_imports(path: Path) -> list[tuple[int, str]]:
    """Line and full name of all imports of fastconv, also those inside functions."""
    tree = ast.parse(text(path))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: a relative import"
            if node.module == "fastconv":
                found += [(node.lineno, f"fastconv.{a.name}") for a in node.names]
            else:
                found.append((node.lineno, node.module))
                inner = [f"{node.module}.{a.name}" for a in node.names]
                found += [(node.lineno, name) for name in inner if module_file(name)]
    return [(n, target) for n, target in found if target.split(".")[0] == "fastconv"]


def module_file(target: str) -> Path | None:
    """The file of a module of fastconv, unless it is a package."""
    path = PACKAGE.parent.joinpath(*target.split(".")).with_suffix(".py")
    return path if path.exists() else None


def test_no_two_modules_import_each_other():
    graph = {
        path: {module_file(target) for _, target in full_imports(path)} - {None}
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    list(TopologicalSorter(graph).static_order())  # CycleError names the modules


def test_imports_run_one_way():
    faults = []
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if module in TOP:
            continue
        if module not in RANK:
            faults.append(f"{name(path)}: a module without a rank")
            continue
        for line, target in imports(path):
            if target != "__version__" and RANK.get(target, 99) > RANK[module]:
                what = f"fastconv.{target}" if target else "the package as a whole"
                faults.append(f"{name(path)}:{line}: {module} imports {what}")
    none(faults)


# One name an op

# No kernels: a reshape renames memory, a callback runs Python.
WITHOUT_KERNELS = {"reshape", "callback"}
ONLY_ON_CPUS = {"quantized"}  # families whose kinds a plan on a GPU refuses
WITHOUT_REFERENCE = {"callback"}  # the reference calls the same function
# No rule of its own for the gradient, and why.
WITHOUT_GRADIENT = {
    "fill": "has no inputs",
    **dict.fromkeys(
        ("sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamax", "lion"),
        "changes parameters",
    ),
    "batch_norm_inference": "is only made by fusion, after gradients were taken",
    "softmax_cross_entropy": "is only made by fusion, after gradients were taken",
    "callback": "is made by the function that is given with it",
    **dict.fromkeys(
        ("quantize", "dequantize", "requantize", "quantized_conv",
         "quantized_average_pool"),
        "is for inference",
    ),
}


def families() -> set[str]:
    """ops/NAME.py; NAME_PART.py belongs to the family NAME."""
    stems = {path.stem for path in PACKAGE.glob("ops/*.py")} - {"__init__", "geometry"}
    return {stem for stem in stems if stem.partition("_")[0] not in stems - {stem}}


def family_of(stem: str) -> str:
    return stem if stem in families() else stem.partition("_")[0]


@pytest.fixture(scope="module")
def kinds():
    import fastconv.ops
    import fastconv.reference  # noqa: F401
    from fastconv._core import OpKind

    return {kind.name: kind for kind in OpKind.__members__.values()}


def test_every_kind_has_a_rule(kinds):
    from fastconv.graph.ir import RULES

    none([f"{name} has no rule" for name, kind in kinds.items() if kind not in RULES])
    none([
        f"{name} has no gradient, and no reason stands in WITHOUT_GRADIENT"
        for name, kind in kinds.items()
        if RULES[kind].gradient is None
        and name not in WITHOUT_GRADIENT
        and not name.endswith("_backward")  # the second derivative is not offered
        and not name.startswith("conv_backward_")
    ])  # fmt: skip


def test_every_kind_has_a_reference(kinds):
    from fastconv.reference.registry import KERNELS

    none([
        f"{name} has no reference kernel"
        for name, kind in kinds.items()
        if kind not in KERNELS and name not in WITHOUT_REFERENCE
    ])  # fmt: skip


def test_every_kind_has_cpu_kernels(kinds):
    from fastconv import _core

    backend = _core.backend("cpu")
    none([
        f"{name} has no CPU kernel"
        for name, kind in kinds.items()
        if not backend.kernels(kind) and name not in WITHOUT_KERNELS
    ])  # fmt: skip


def test_rules_and_references_stand_in_files_of_one_name(kinds):
    from fastconv.reference.registry import KERNELS

    faults = []
    for path in PACKAGE.glob("ops/*.py"):
        for kind in re.findall(r"\bregister\(\s*OpKind\.(\w+)", text(path)):
            if kinds[kind] not in KERNELS:
                continue
            reference = KERNELS[kinds[kind]].__module__.rpartition(".")[2]
            if family_of(path.stem) != family_of(reference):
                faults.append(f"{kind}: ops/{path.stem}.py, reference/{reference}.py")
    none(faults)


def test_one_name_everywhere():
    faults = []
    for family in sorted(families()):
        places = [f"tests/test_op_{family}*.py"]
        if family not in WITHOUT_KERNELS:
            places += [
                f"python/fastconv/reference/{family}*.py",
                f"src/cpu/{family}*.cpp",
            ]
        if family not in WITHOUT_KERNELS | ONLY_ON_CPUS:
            places.append(f"src/cuda/{family}*.cu")
        faults += [f"{family}: no {place}" for place in places if not files(place)]
    others = {
        "python/fastconv/reference": {"__init__", "registry"},
        "src/cpu": KERNEL_HOST_FILES | {"amx", "kernel_table", "microkernel", "probe"},
        "src/cuda": {"cuda_backend", "emulator", "emulator_hopper", "hopper_map"}
        | {"kernel_table", "product_hopper"},
    }
    for folder, known in others.items():
        for path in files(*(f"{folder}/*{end}" for end in (".py", ".cpp", ".cu"))):
            if path.stem not in known and family_of(path.stem) not in families():
                faults.append(f"{name(path)}: no such family in ops/")
    for path in files("tests/test_op_*.py"):
        if family_of(path.stem.removeprefix("test_op_")) not in families():
            faults.append(f"{name(path)}: no such family in ops/")
    none(faults)


# What may stand where


def test_no_backend_in_shared_code():
    backends = re.compile(r"#\s*(?:el)?if.*(CUDA|NVCC|HIP|ROCM|SYCL)")
    shared = [path for path in CPP if "src/cuda" not in name(path)]
    none([
        f"{name(path)}: {match[0]}"
        for path in shared
        for match in backends.finditer(text(path))
    ])  # fmt: skip


def test_one_place_reads_the_environment():
    faults = []
    for path in PACKAGE.rglob("*.py"):
        code = ast.unparse(ast.parse(text(path)))
        if path != PACKAGE / "config.py" and re.search(r"\bos\.(environ|getenv)", code):
            faults.append(f"{name(path)} reads the environment")
    faults += [
        f"{name(path)} reads the environment"
        for path in files("src/**/*.*", "include/**/*.h")
        if "getenv" in text(path) and name(path) != "src/environment.cpp"
    ]
    none(faults)


def test_nothing_is_left_to_do():
    words = re.compile("TO" + "DO|FIX" + "ME|X" + "XX")
    docs = files("docs/*.md", "*.md", "CMakeLists.txt", "src/**/CMakeLists.txt")
    none([
        f"{name(path)}: {match[0]}"
        for path in PYTHON + CPP + docs
        for match in words.finditer(text(path))
    ])  # fmt: skip


KERNEL_INCLUDES = {"stddef.h", "stdint.h", "immintrin.h", "xmmintrin.h", "arm_neon.h"}
FILE_INCLUDES = {"probe.cpp": {"time.h"}}  # it reads the clock, through C


def kernel_files() -> list[Path]:
    """What is compiled once an instruction set."""
    return [p for p in files("src/cpu/*.cpp") if p.stem not in KERNEL_HOST_FILES]


def test_kernel_files_include_only_integers_and_intrinsics():
    headers = [p for p in files("src/cpu/*.h") if p.stem != "isa"]
    faults = []
    for path in kernel_files() + headers:
        allowed = KERNEL_INCLUDES | FILE_INCLUDES.get(path.name, set())
        included = set(re.findall(r"#\s*include\s*<(.*?)>", text(path)))
        faults += [f"{name(path)} includes <{h}>" for h in sorted(included - allowed)]
    none(faults)


# C's, which g++ offers as well: kernels are compiled for the emulator too.
CUDA_INCLUDES = {"cuda.h", "math.h", "stdint.h"}
CUDA_HOST_FILES = {
    "carriers.h", "cuda_backend.cu", "emulator.cpp", "emulator.h",
    "emulator_tensor_core.h",
}  # fmt: skip


def test_cuda_kernels_include_no_library():
    faults = []
    for path in files("src/cuda/*.cu", "src/cuda/*.h"):
        if path.name not in CUDA_HOST_FILES:
            included = set(re.findall(r"#\s*include\s*<(.*?)>", text(path)))
            faults += [f"{name(path)} includes <{h}>" for h in included - CUDA_INCLUDES]
    none(faults)


def test_cmake_lists_all_cuda_files():
    source = text(ROOT / "src/cuda/CMakeLists.txt")
    listed = re.search(r"set\(CUDA_FILES(.*?)\)", source, re.S)
    assert sorted(listed[1].split()) == [p.name for p in files("src/cuda/*.cu")]


def test_no_float_is_added_atomically():
    atomic = re.compile(r"\batomic[A-Z]\w*")
    sources = files("src/cuda/*")
    none([f"{name(p)}: an atomic" for p in sources if atomic.search(text(p))])


def test_openmp_is_named_where_threads_are_made_alone():
    named = {
        path.name for path in CPP if re.search(r"#\s*pragma omp|<omp\.h>", text(path))
    }
    assert named <= {"team.cpp", "threads.cpp"}


# Symbols of the kernel files


def compiled_kernel_files() -> list[str]:
    lists = re.findall(
        r"set\((?:KERNEL|AMX)_FILES([^)]*)\)", text(ROOT / "src/cpu/CMakeLists.txt")
    )
    return sorted(set(" ".join(lists).split()))


def test_cmake_lists_all_kernel_files():
    assert compiled_kernel_files() == [path.name for path in kernel_files()]


@pytest.mark.parametrize("file", ["conv.cpp", "loss.cpp", "pool.cpp", "probe.cpp"])
def test_kernel_objects_share_no_symbol(file, tmp_path):
    """Whatever an object offers is in its ISA's namespace, and it needs no C++ library.

    A shared inline function compiled for a new CPU could be what an old CPU runs.
    """
    import shutil
    import subprocess

    if not (shutil.which("g++") and shutil.which("nm")):
        pytest.skip("needs g++ and nm")
    target = tmp_path / "kernel.o"
    compile_it = [
        "g++", "-std=gnu++20", "-O1", "-fopenmp", "-fno-exceptions", "-fno-rtti",
        "-fno-math-errno", "-Wno-psabi", "-DFASTCONV_ISA=nm_test", "-DFASTCONV_LANES=4",
        f"-I{ROOT / 'include'}", "-c", ROOT / "src" / "cpu" / file, "-o", target,
    ]  # fmt: skip
    subprocess.run(compile_it, check=True)
    listing = subprocess.run(["nm", target], check=True, capture_output=True, text=True)
    own = re.compile(r"_Z(?:GV|T[VIS]|Z)?NK?8fastconv3cpu7nm_test")
    faults = []
    for line in listing.stdout.splitlines():
        kind, symbol = line.split()[-2:]
        offered = kind in "uvw" or (kind.isupper() and kind != "U")
        if offered and not own.match(symbol):
            faults.append(f"offers {symbol} ({kind})")
        if kind == "U" and symbol.startswith("_Z") and "8fastconv" not in symbol:
            faults.append(f"needs {symbol}")
    none(faults)
