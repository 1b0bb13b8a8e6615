"""How helpers compile: lowered once per signature, and optimised as a whole only inside their kernels.

numba's own way optimises, and turns into machine code, each function for itself and then again inside every caller,
with wrappers for callers from Python and C; and it compiles a callee anew for every integer constant that it is given.
With chains of ten helpers that was most of the time to compile: `work_flows` took 17.2 s of CPU, and takes 5.7 s so.

The passes over single functions stay: without them kernels compiled faster, and `cut_sessions` ran 1.17 times as long.

What a helper computes does not depend on this: the optimiser may not change a bit of floating-point arithmetic. The
passes below use numba's internals, so `jit` takes them only for the versions that they were tested with.
"""

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering
from numba.core.types import unliteral  # type: ignore[attr-defined]


class _Library(JITCodeLibrary):  # type: ignore[misc]
    """Code that only other code links in: neither optimised as a whole nor made into machine code."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class _OutlinedLower(Lower):  # type: ignore[misc]
    def setup_function(self, fndesc: Any) -> None:
        super().setup_function(fndesc)
        self.function.attributes.add("noinline")


@register_pass(mutates_CFG=True, analysis_only=False)
class _LinkedLowering(NativeLowering):  # type: ignore[misc]
    """Lower to LLVM, without wrappers and without an address; callers find the function by a key of its own."""

    _name = "fraudloom_linked_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_cpython_wrapper = True
        state.flags.no_cfunc_wrapper = True
        state.flags.no_compile = True
        super().run_pass(state)
        key = object()
        state.targetctx.insert_user_function(key, state["cr"].fndesc, [state.library])
        state["cr"] = state["cr"]._replace(cfunc=key)
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _OutlinedLowering(_LinkedLowering):
    """As above; LLVM keeps it a function of its own in every kernel."""

    _name = "fraudloom_outlined_lowering"

    @property
    def lowering_class(self) -> type[Lower]:
        return _OutlinedLower


class _Compiler(CompilerBase):  # type: ignore[misc]
    lowering: type[NativeLowering] = _LinkedLowering

    def define_pipelines(self) -> list[Any]:
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state, "fraudloom_helper")
        manager.passes = [
            (self.lowering, text) if step is NativeLowering else (step, text) for step, text in manager.passes
        ]
        manager._finalized = False
        manager.finalize()
        return [manager]


class _OutlinedCompiler(_Compiler):
    lowering = _OutlinedLowering


class LinkedDispatcher(CPUDispatcher):  # type: ignore[misc]
    """A function for kernels to call. Called from Python, it runs `outer`, an ordinary compilation of its own."""

    def __init__(self, function: Any, options: dict[str, Any], outlined: bool, outer: Any) -> None:
        pipeline = _OutlinedCompiler if outlined else _Compiler
        super().__init__(function, targetoptions={**options, "nopython": True}, pipeline_class=pipeline)
        self.outer = outer

    def __call__(self, *args: Any) -> Any:
        return self.outer(*args)

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """As numba's, with every literal argument taken for its type: one compilation, whatever the constants."""
        plain = {name: unliteral(type_) for name, type_ in kws.items()}
        return super().get_call_template(tuple(unliteral(type_) for type_ in args), plain)

    def add_overload(self, cres: Any) -> None:
        """Keep a compiled signature; there is no machine code to register."""
        self.overloads[tuple(cres.signature.args)] = cres
