// A model of which some values are seen while it runs.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/job_context.h"
#include "core/base/status.h"
#include "core/model/model.h"
#include "core/runtime/session.h"

namespace modelpress {

// For training.hints: errors name their field. Not thread-safe.
class SeenModel {
 public:
  // The model must outlive it. `field` is the field of a hint that names values in this model ("teacher").
  SeenModel(const Model& model, std::string_view field) : model_(model), field_(field) {}

  // RECIPE_INVALID with the nearest name where no operator makes one; those of Session.
  absl::Status Load(const std::vector<std::string>& values, const JobContext& context);
  absl::Status Run(const TensorMap& feed);
  // What the i-th value was in the last run; nothing if it was not computed.
  const std::optional<Tensor>& Seen(size_t i) const { return seen_[i]; }
  // RECIPE_INVALID that says something of the i-th value.
  Error Refuse(size_t i, std::string_view what) const;

 private:
  absl::Status CheckName(const std::string& name, size_t i) const;

  const Model& model_;
  std::string field_;
  std::unique_ptr<Session> session_;
  std::vector<std::optional<Tensor>> seen_;
};

}  // namespace modelpress
