// libtorch's tensors and their operators: what of it the trainer needs (no torch/torch.h). Precompiled; only files of this
// folder include it.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
