"""A trainer for tiny networks on the CPU: kernels made for the very shapes of one network.

`plan` lists a network's layers and `arena` gives each buffer its place. `convolutions`, `winograd`,
`pointwise` (on `chain`) and `norm` write LLVM code for them with `emit`, `program` puts it in order,
`compile` compiles it, and `network` runs batches with it. Nothing outside this folder knows of LLVM.
"""
