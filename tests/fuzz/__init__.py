"""Fuzzing of everything that onnxrich reads: broken and hostile variants of real files, checked by the real code.

    make fuzz                                            all targets, an hour
    cd tests && python -m fuzz --help                    one target, some minutes or inputs, a seed
    cd tests && python -m fuzz --target model --seed 7 --first 812 --inputs 1    input 812 of seed 7 again

To add a target:

1. Write `targets/NAME.py` with `SUFFIX`, the ending of its files, and three functions: `seeds() -> list[bytes]`, small
   real files; `mutate(rng, content) -> bytes`, a variant that the format's own structure shapes (`fuzz.mutations` has
   those of bytes); `check(path) -> None`, which calls onnxrich as users do.
2. `mutate` draws from `rng` alone, so that seed and number give the same input again.
3. `check` lets an `OnnxrichError` pass: that is a refusal. It raises `AssertionError` where a result is wrong in
   itself, such as a document with NaN. Everything else is judged by the harness, see `fuzz.harness`.
4. A target that starts processes sets `BATCH`, the inputs of one child process, to some twenty. One that runs models
   sets `NATIVE`, the name of the library that may crash or hang.
5. Add NAME to `TARGETS` in `targets/__init__.py`. Tests and `make fuzz` take it from there.
6. Once a finding is mended, copy its file (below 50 kB) to `findings/NAME/`: the core suite replays it for ever.

Why no library drives it. Hypothesis runs its examples in its own process, which a crash of native code, a hang or a
full memory ends together with the example; its laws stay where values are checked, as in `tests/moments`. Atheris
guides by coverage, but its mutations of bytes rarely leave a protobuf or a zip archive readable, its process ends at
the first crash, and most code behind a model is native code that it does not see. Mutations that know the format reach
that code at once.
"""
