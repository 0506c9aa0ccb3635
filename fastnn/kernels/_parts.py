"""Functions that only compiled functions call: linked into their callers as they are, and optimised there, once.

Numba would optimise each by itself, make machine code of it that nobody runs, and then optimise it again in each of its
callers and theirs: a quarter of the time that compiling the kernels took.

What is here builds on Numba's insides. Where they are others this module cannot be imported, and Numba's own way is
taken instead.
"""

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

_OVERRIDDEN = (
    "add_llvm_module",
    "_optimize_final_module",
    "_finalize_final_module",
    "get_pointer_to_function",
    "codegen",
)
if missing := [name for name in _OVERRIDDEN if not hasattr(JITCodeLibrary, name)]:
    raise ImportError(f"Numba's code libraries have no {', '.join(missing)} any more")


class Part(JITCodeLibrary):
    """The code of such a function.

    Raises
    ------
    NotImplementedError
        When it is compiled, if the function calls on Python's interpreter, or is one of several that call each other:
        both need to be known to the engine that runs the code, as only whole functions are.
    """

    def add_llvm_module(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout
        self._final_module.link_in(module)

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        module = self._final_module
        needed = [function.name for function in module.functions if function.is_declaration]
        needed += [variable.name for variable in module.global_variables]
        for name in needed:
            if name.startswith(("Py", "numba_gil", ".numba.unresolved")):
                raise NotImplementedError(f"{self.name} cannot be a part of others, it needs {name}")
        self._finalized = True

    def get_pointer_to_function(self, _name: str) -> int:
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        return _Nowhere


class _Nowhere:
    """Where Numba writes the address of the Python objects that belong to a function: a part has none."""

    @staticmethod
    def set_env(_name: str, _environment: Any) -> None:
        pass


class PartCompiler(Compiler):
    """Numba's compiler, with a :class:`Part` for the result."""

    def define_pipelines(self) -> Any:
        state = self.state
        if state.library is None:
            state.library = Part(state.targetctx.codegen(), state.func_id.func_qualname)
        return super().define_pipelines()
