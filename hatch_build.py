# SPDX-License-Identifier: Apache-2.0
"""Compile the kernels when a wheel is built: `python hatch_build.py` does it in place.

Without a C++ compiler, or if it fails, the wheel has no kernels and runs everywhere.
`RECURRENT_JAX_BUILD=off` builds such a wheel. `RECURRENT_JAX_BUILD=on` fails if the
kernels cannot be compiled.
"""

import concurrent.futures
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # as a script, where only the compiler is needed
    BuildHookInterface = object

SWITCH = "RECURRENT_JAX_BUILD"
SOURCES = pathlib.PurePath("recurrent_jax", "kernels", "cpu")
SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"
LIBRARY = SOURCES / f"librecurrent_jax_cpu{SUFFIX}"

# `-ffp-contract=fast` allows fused multiply-add. Nothing here reorders sums, or treats
# NaN, inf and denormal numbers in any other way than the C++ standard does.
FLAGS = shlex.split(
    "-std=c++17 -O3 -fPIC -fvisibility=hidden -ffp-contract=fast -fno-math-errno "
    "-fno-trapping-math -pthread"
)
LINK = ["-shared", "-pthread"]
if sys.platform == "linux":
    LINK += ["-static-libstdc++", "-static-libgcc"]
# The instructions of one file each. The library chooses between them when it runs.
MACHINE = {
    "kernels_avx2": shlex.split("-mavx2 -mfma"),
    "kernels_avx512": shlex.split(
        "-mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma"
    ),
}


class NotBuilt(Exception):
    """The kernels cannot be compiled here. The message says why."""


def compiler() -> list[str]:
    """Return the command of the C++ compiler, which `CXX` may name."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and shutil.which(shlex.split(name)[0]):
            return shlex.split(name)
    raise NotBuilt("there is no C++ compiler (c++, g++, clang++, or what CXX names)")


def build(root: pathlib.Path, output: pathlib.Path) -> None:
    """Compile the kernels of a source tree into the library `output`."""
    if sys.platform == "win32":
        raise NotBuilt("there are no kernels for Windows")
    command = compiler()
    sources = sorted((root / SOURCES).glob("*.cpp"))
    with tempfile.TemporaryDirectory() as folder:

        def one(source: pathlib.Path) -> str:
            compiled = str(pathlib.Path(folder, f"{source.stem}.o"))
            machine = MACHINE.get(source.stem, []) if is_x86() else []
            given = shlex.split(os.environ.get("CXXFLAGS", ""))
            flags = [*FLAGS, *machine, *arch(), *given]
            run([*command, *flags, "-c", str(source), "-o", compiled])
            return compiled

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(one, sources))
        made = pathlib.Path(folder, "library")
        run([*command, *LINK, *arch(), *objects, "-o", str(made)])
        # Moved, so that a process that has loaded the old one keeps it.
        shutil.copyfile(made, output.with_suffix(".new"))
        output.with_suffix(".new").replace(output)


def is_fresh(root: pathlib.Path, output: pathlib.Path) -> bool:
    """Return whether a library is newer than all that it is made from."""
    if not output.exists():
        return False
    parts = [*(root / SOURCES).glob("*.cpp"), *(root / SOURCES).glob("*.h")]
    made = output.stat().st_mtime
    return all(made > p.stat().st_mtime for p in (*parts, pathlib.Path(__file__)))


def run(command: list[str]) -> None:
    """Run a command of the compiler, or raise an error with its last words."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise NotBuilt(f"{command[0]} does not run: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        errors = [line for line in lines if "error" in line] or lines
        raise NotBuilt(f"{command[0]} failed: {errors[0]}")


def is_x86() -> bool:
    """Return whether the library is for x86-64."""
    return (arch()[-1] if arch() else platform.machine()) in ("x86_64", "AMD64")


def arch() -> list[str]:
    """Return `-arch NAME` where a build for macOS asks for one, in `ARCHFLAGS`."""
    flags = shlex.split(os.environ.get("ARCHFLAGS", ""))
    return flags[:2] if sys.platform == "darwin" else []


def tag() -> str:
    """Return the tag of a wheel with the library: any Python 3, this platform."""
    name = sysconfig.get_platform()
    if sys.platform == "darwin":
        _, version, machine = name.split("-")
        version = os.environ.get("MACOSX_DEPLOYMENT_TARGET", version)
        if machine == "universal2" or arch():
            machine = arch()[-1] if arch() else platform.machine()
        major, _, minor = version.partition(".")
        # Wheels for macOS 11 and later name no minor version but 0.
        name = f"macosx-{major}-{0 if int(major) > 10 else minor or 0}-{machine}"
    return "py3-none-" + name.replace("-", "_").replace(".", "_")


class CustomBuildHook(BuildHookInterface):
    """The hook that hatchling calls before it writes a wheel."""

    def initialize(self, version: str, build_data: dict) -> None:
        """Compile the kernels, and put them into the wheel."""
        switch = os.environ.get(SWITCH, "auto")
        if switch not in ("auto", "on", "off"):
            raise ValueError(f"{SWITCH} must be auto, on or off, got {switch!r}")
        if self.target_name != "wheel" or switch == "off":
            return
        root = pathlib.Path(self.root)
        self.folder = tempfile.mkdtemp()
        editable = version == "editable"
        output = root / LIBRARY if editable else pathlib.Path(self.folder, LIBRARY.name)
        try:
            if not (editable and is_fresh(root, output)):
                build(root, output)
        except NotBuilt as why:
            if switch == "on":
                raise
            self.app.display_warning(
                f"recurrent_jax is built without its kernels for CPUs: {why}. It works "
                "without them; an LSTM, GRU or Elman network is then slower on a CPU"
            )
            return
        build_data["pure_python"] = False
        build_data["tag"] = tag()
        if not editable:
            build_data["force_include"][str(output)] = str(LIBRARY)

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        """Remove what is now in the wheel."""
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


if __name__ == "__main__":
    here = pathlib.Path(__file__).parent
    build(here, here / LIBRARY)
    print(here / LIBRARY)
