// Where training begins behind codes: floats that round to the codes that a model has.
#pragma once

#include <span>

#include "core/model/model.h"
#include "core/training/trainable.h"
#include "core/training/weight_codes.h"

namespace modelpress {

// The cell of a code is what rounds to it; the values are in the shape of the weight. Where `original` (may be null) still
// has the weight that codes were made from, a value starts there if that is in the cell, else half way from the middle of
// the cell to the edge on its side; without an original in the middle.
//
// Codes that were chosen otherwise than by rounding (GPTQ) are for a good part those of other cells. Values on the edge
// would all be back in the original's cell after the first steps of an optimizer, which are as large as later ones and know
// only the first batches.
void StartCodes(const Model* original, const Trainable& weight, const DecodedCodes& codes,
                std::span<float> values);

}  // namespace modelpress
