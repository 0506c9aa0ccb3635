"""Numba's compiler with less to do, for functions as simple as the kernels are.

Two compilers: one that leaves out what such functions do not need, and one besides for those that only compiled
functions call. Those are linked into their callers as they are, and optimised there, once: Numba would optimise each by
itself, make machine code of it that nobody runs, and then optimise it again in each of its callers and theirs.
Together they save two fifths of the time.

What is here builds on Numba's insides. Where they are others, :func:`works` says so, and Numba's own way is
taken instead.
"""

from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numba
from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import PassManager
from numba.core.typed_passes import (
    AnnotateTypes,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import (
    DeadBranchPrune,
    FixupArgs,
    GenericRewrites,
    IRProcessing,
    ReconstructSSA,
    RewriteSemanticConstants,
    TranslateByteCode,
)

_PASSES = (
    TranslateByteCode,
    FixupArgs,
    IRProcessing,
    RewriteSemanticConstants,
    DeadBranchPrune,
    GenericRewrites,
    ReconstructSSA,
    DeadBranchPrune,
    NopythonTypeInference,
    PreLowerStripPhis,
    AnnotateTypes,
    NativeLowering,
    NoPythonBackend,
)
"""Those of Numba's passes, in its order, that numbers, tuples, arrays, branches and loops need.

Without IRLegalization, which says when a variable is used no more: kernels make no arrays, so nobody counts references.
"""


class _Typing:
    """A typing context that finds out once what a function makes of such arguments.

    Numba asks anew at each place of a call, for each turn that its inference takes.
    """

    _of_context: ClassVar[WeakKeyDictionary[Any, dict[Any, Any]]] = WeakKeyDictionary()

    def __init__(self, context: Any) -> None:
        self._context = context
        self._known = self._of_context.setdefault(context, {})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, function: Any, arguments: Any, names: Any) -> Any:
        # Compiled functions keep what they are themselves, and may be under way.
        if names or isinstance(function, types.Dispatcher):
            return self._context.resolve_function_type(function, arguments, names)
        key = (function, arguments)
        if key not in self._known:
            found = self._context.resolve_function_type(function, arguments, names)
            if found is None:
                return None
            self._known[key] = found
        return self._known[key]


class LeanCompiler(CompilerBase):
    """Numba's compiler, for functions that make no arrays and have no closures, comprehensions, ``with``, ``raise``."""

    def define_pipelines(self) -> Any:
        state = self.state
        state.typingctx = _Typing(state.typingctx)
        if state.library is None:
            state.library = self._library()
        passes = PassManager("lean")
        for each in _PASSES:
            passes.add_pass(each, each.name())
        passes.finalize()
        return [passes]

    def _library(self) -> Any:
        library = Whole(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        library.enable_object_caching()
        return library


class PartCompiler(LeanCompiler):
    """The same, with a :class:`Part` for the result."""

    def _library(self) -> Any:
        return Part(self.state.targetctx.codegen(), self.state.func_id.func_qualname)


class Whole(JITCodeLibrary):
    """The code of a function that Python calls, with its parts: optimised once, all together.

    Numba optimises it before its parts are there, and twice when they are, to find counts of references.
    """

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


class Part(Whole):
    """The code of a function that only compiled functions call.

    Raises
    ------
    NotImplementedError
        When it is compiled, if the function calls on Python's interpreter, or is one of several that call each other:
        both need to be known to the engine that runs the code, as only whole functions are.
    """

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


def works() -> bool:
    """Return whether Numba is as this module takes it to be: a function with a part comes out right."""
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}
    try:
        part = numba.njit(pipeline_class=PartCompiler, **options)(_one_more)
        whole = numba.njit(pipeline_class=LeanCompiler, **options)(lambda x: part(x) + part(x))
        whole.compile((types.int64,))
        (compiled,) = whole.overloads.values()
        return type(compiled.library) is Whole and bool(compiled.library.serialize_using_object_code())
    except Exception:
        return False


def _one_more(x: int) -> int:
    return x + 1
