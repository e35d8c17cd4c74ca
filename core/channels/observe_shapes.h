// Extents that only an inference tells.
#pragma once

#include "core/channels/dependency_groups.h"
#include "core/data/samples.h"

namespace modelpress {

// Of the values that multiply-accumulates depend on, in one inference of the first feed (of a
// synthetic sample where `samples` is null), as if it held one sample. Empty where the model does
// not run so.
ObservedShapes ObserveShapes(Model& model, const Samples* samples);

}  // namespace modelpress
