"""How kernels and helpers compile: helpers are lowered once per signature, and optimised only inside their kernels.

numba's own way optimises, and turns into machine code, each function for itself and then again inside every caller,
with wrappers for callers from Python and C; and it compiles a callee anew for every integer constant that it is given.
With chains of ten helpers that was most of the time to compile: `work_flows` took 17.2 s of CPU, and takes 5.7 s so.

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


class _KernelLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code that is optimised once, as a whole: the passes over its single functions would do the same work before."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout


class _HelperLibrary(_KernelLibrary):
    """Code that only other code links in: neither optimised nor made into machine code."""

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
class _KernelLowering(NativeLowering):  # type: ignore[misc]
    """As numba's, into our kind of library, which the cache can store."""

    _name = "fraudloom_kernel_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _KernelLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return bool(super().run_pass(state))


@register_pass(mutates_CFG=True, analysis_only=False)
class _LinkedLowering(NativeLowering):  # type: ignore[misc]
    """Lower to LLVM, without wrappers and without an address; callers find the function by a key of its own."""

    _name = "fraudloom_linked_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _HelperLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
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


class KernelCompiler(CompilerBase):  # type: ignore[misc]
    """The pipeline of kernels: numba's, with a lowering of ours."""

    lowering: type[NativeLowering] = _KernelLowering

    def define_pipelines(self) -> list[Any]:
        """One nopython pipeline."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state, "fraudloom")
        manager.passes = [
            (self.lowering, text) if step is NativeLowering else (step, text) for step, text in manager.passes
        ]
        manager._finalized = False
        manager.finalize()
        return [manager]


class _HelperCompiler(KernelCompiler):
    lowering = _LinkedLowering


class _OutlinedCompiler(KernelCompiler):
    lowering = _OutlinedLowering


class LinkedDispatcher(CPUDispatcher):  # type: ignore[misc]
    """A function for kernels to call. Called from Python, it runs `outer`, an ordinary compilation of its own."""

    def __init__(self, function: Any, options: dict[str, Any], outlined: bool, outer: Any) -> None:
        pipeline = _OutlinedCompiler if outlined else _HelperCompiler
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
