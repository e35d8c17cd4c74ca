// Where an artifact comes from, written into the model itself.
#pragma once

#include "core/base/status.h"
#include "core/model/model.h"
#include "google/protobuf/message.h"

namespace modelpress::v1 {
class ModelSummary;
class Recipe;
}  // namespace modelpress::v1

namespace modelpress {

// How the model that the passes begin with came about.
enum class Provenance {
  kAsGiven,
  kConverted,
  kWeightsPutIntoGraph,
};

// Sets metadata_props "modelpress.version", "modelpress.input_sha256" (and
// "modelpress.input_sha256/NAME" for each sidecar) and "modelpress.recipe": what made the bytes, so
// passes, seed and output but not how they were judged. Replaces what an earlier run left; other
// properties stay. A model that was converted from another format, in this job or before it, has
// "modelpress.source_sha256" and "modelpress.import" in place of the input's digest.
// A graph that got new weights has the digests of both, that of the weights as the input's, and "modelpress.renamed_weights"
// with the names that were changed.
void SetProvenance(const ModelSummary& original, Provenance provenance, const Recipe& recipe,
                   Model* model);

// Writes bytes that are not UTF-8 out in every string of the message (see core/base/utf8.h).
void MakeUtf8(google::protobuf::Message* message);

}  // namespace modelpress
