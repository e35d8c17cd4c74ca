// How much memory the trainer takes.
#pragma once

#include <cstdint>

#include "core/model/model.h"

namespace modelpress {

// What the activations and gradients of one forward and backward may take at most, bytes. Larger batches are cut
// (TrainRequest.activation_bytes). The same everywhere, because where a batch is cut changes the last bits of its gradients.
inline constexpr uint64_t kActivationRoom = 512 << 20;

// Anonymous memory of the trainer without activations, for weights that are so many bytes as float32: libtorch; values,
// gradient, those of four parts of a batch, two moments, best values and mask; for codes scale, zero point and both ends of
// the range spread to every value, and what rounding holds meanwhile.
uint64_t TrainerFixedMemory(uint64_t weight_bytes);
// With all the room for activations: what is known before a model is.
uint64_t TrainerMemory(uint64_t weight_bytes);
// With the activations of a batch by the shapes of the model's values; all the room where extents beside the first are not
// known.
uint64_t TrainerMemory(const Model& model, uint64_t weight_bytes, uint32_t batch_size);

}  // namespace modelpress
