"""Builds every cext/*.pyx; each names its own C sources and libraries in its `# distutils:` header.

EXTENSIONS=ring,convert in the environment builds those alone, EXTENSIONS=none nothing.
"""
import copy
import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CFLAGS = ["-O3", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-fno-strict-aliasing", "-fvisibility=hidden", "-Icext/kernels"]

HEADERS = sorted(str(path) for path in Path("cext/kernels").glob("*.h"))

wanted = set(filter(None, os.environ.get("EXTENSIONS", "").split(",")))
sources = sorted(path for path in Path("cext").glob("*.pyx") if not wanted or path.stem in wanted)


class BuildApart(build_ext):
    """Gives each extension a folder of its own for objects: several share kernels, each with its flags, and two are built at once."""

    def build_extension(self, ext):
        """As before, there."""
        apart = copy.copy(self)
        apart.build_temp = os.path.join(self.build_temp, ext.name)
        super(BuildApart, apart).build_extension(ext)


setup(
    cmdclass={"build_ext": BuildApart},
    ext_modules=cythonize(
        [Extension(f"cext.{path.stem}", [str(path)], depends=HEADERS, extra_compile_args=CFLAGS) for path in sources],
        compiler_directives={"language_level": "3", "freethreading_compatible": False},
        include_path=["."],
    ),
)
