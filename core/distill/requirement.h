// What a student has to reach, as limits on metrics of held-out samples.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/training/training_data.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

// One side of a QualityBound.
struct Limit {
  enum class Kind { kMin, kMax, kMaxDrop, kMaxRelativeDrop };
  std::string metric;
  Kind kind = Kind::kMin;
  double limit = 0;
  // Of sqnr_db and cosine; empty: the worst of all.
  std::string output;
};

// "accuracy at least 0.95", "accuracy at most 0.01 worse than the original's".
std::string Describe(const Limit& limit);

// RECIPE_INVALID with `field` ("distill.bounds[0].metric") where a bound cannot be held on held-out samples.
absl::Status ValidateBounds(const google::protobuf::RepeatedPtrField<QualityBound>& bounds,
                            std::string_view field);

// The limits of the options, else of those bounds of the recipe's quality that held-out samples can show, else the
// defaults of recipe.proto. A note says where they come from. DATA_MISSING where a metric needs labels and no held-out
// sample has one, or there is no class to agree on.
absl::StatusOr<std::vector<Limit>> ResolveLimits(const Distill& options, const Recipe* recipe,
                                                 const HeldOutData& data, bool size_is_told,
                                                 std::vector<std::string>* notes);

}  // namespace modelpress
