// Running two models beside each other; see gather_rows.h.
#include "core/channels/gather_rows.h"

#include <algorithm>
#include <set>

#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/quant/weight_selection.h"
#include "core/runtime/session.h"

namespace modelpress {
namespace {

constexpr uint64_t kHeldBack = 5, kParts = 5;
// Rows that are enough for K inputs.
constexpr uint64_t kRows = 16384, kRowsPerInput = 24;
constexpr uint64_t kDefaultBudget = uint64_t{2} << 30;
// Weights up to this size are laid out for speed.
constexpr uint64_t kPrepackedBytes = 128 << 20;

// Up to these values: everything behind them is dropped.
Model Until(const Model& model, const std::set<std::string>& values) {
  Model part = model.Clone();
  onnx::GraphProto& graph = *part.mutable_proto().mutable_graph();
  graph.clear_output();
  for (const std::string& value : values) {
    onnx::ValueInfoProto& output = *graph.add_output();
    output.set_name(value);
    output.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  }
  RemoveDead(part.mutable_proto());
  return part;
}

bool IsInput(const Model& model, const std::string& value) {
  return std::ranges::any_of(model.proto().graph().input(),
                             [&](const auto& input) { return input.name() == value; });
}

// The values of one model, by name: inputs are taken from the feed.
class Half {
 public:
  absl::Status Load(const Model& model, const std::set<std::string>& values, size_t at_once) {
    std::set<std::string> made;
    for (const std::string& value : values) {
      if (!IsInput(model, value)) made.insert(value);
    }
    results_.resize(at_once);
    if (made.empty()) return absl::OkStatus();
    const Model part = Until(model, made);
    // One thread: with more of them the runtime splits its sums in other places.
    MP_ASSIGN_OR_RETURN(
        session_,
        Session::Create(part, {.threads = 1, .prepack = WeightBytes(part) <= kPrepackedBytes}));
    return absl::OkStatus();
  }

  absl::Status Run(const TensorMap& inputs, size_t place) {
    if (session_ == nullptr) return absl::OkStatus();
    MP_ASSIGN_OR_RETURN(results_[place], session_->Run(inputs));
    return absl::OkStatus();
  }

  const Tensor* Find(const std::string& value, const TensorMap& inputs, size_t place) const {
    for (const TensorMap* map : {&results_[place], &inputs}) {
      if (const auto found = map->find(value); found != map->end()) return &found->second;
    }
    return nullptr;
  }

 private:
  std::unique_ptr<Session> session_;
  std::vector<TensorMap> results_;
};

void Add(RowRequest& request, const Tensor* x, const Tensor* y, uint64_t feed, uint64_t feeds,
         ThreadPool& pool) {
  const uint64_t rows = kRows + kRowsPerInput * request.rows.inputs;
  const uint64_t most = (rows + feeds - 1) / feeds;
  const bool held = !request.cross && feed % kHeldBack == kHeldBack - 1;
  RowSums& part = *request.parts[request.cross ? feed % request.parts.size() : held ? 1 : 0];
  const bool fits =
      x != nullptr && y != nullptr && part.Add(*x, *y, feed, held ? kHeldBack * most : most, pool);
  if (!fits) request.problem = "its values do not have the shapes that were expected";
}

}  // namespace

FitMoments::FitMoments(const RowRequest& request)
    : parts_(request.parts.size()), cross_(request.cross && request.parts.size() > 1) {
  for (size_t part = 0; part < parts_.size(); ++part) {
    for (size_t g = 0; g < request.rows.groups; ++g) {
      parts_[part].push_back(request.parts[part]->Moments(g));
    }
  }
}

std::vector<RowMoments> FitMoments::ForTrial(size_t trial) const {
  return cross_ ? Without(trial) : parts_[0];
}

std::vector<RowMoments> FitMoments::ForGood() const {
  return cross_ ? Without(parts_.size()) : parts_[0];
}

double FitMoments::Share(size_t trial) const {
  if (!cross_) return 1;
  uint64_t rows = 0;
  for (const auto& part : parts_) rows += part[0].rows;
  return static_cast<double>(parts_[trial][0].rows) / static_cast<double>(rows);
}

std::vector<RowMoments> FitMoments::Without(size_t part) const {
  uint64_t rows = 0;
  for (size_t i = 0; i < parts_.size(); ++i) rows += i == part ? 0 : parts_[i][0].rows;
  std::vector<RowMoments> joined;
  for (size_t g = 0; g < parts_[0].size(); ++g) {
    RowMoments& sum = joined.emplace_back(parts_[0][g].inputs, parts_[0][g].outputs, rows);
    sum.matrix.resize(parts_[0][g].matrix.size());
    for (size_t i = 0; i < parts_.size(); ++i) {
      if (i == part) continue;
      const RowMoments& from = parts_[i][g];
      const double share = static_cast<double>(from.rows) / static_cast<double>(rows);
      for (size_t k = 0; k < sum.matrix.size(); ++k) sum.matrix[k] += share * from.matrix[k];
    }
  }
  return joined;
}

absl::Status GatherRows(const Model& of_x, const Model& of_y, const Samples& samples,
                        const std::vector<RowRequest*>& requests, const JobContext& context) {
  const uint64_t budget =
      context.memory_budget_bytes > 0 ? context.memory_budget_bytes / 2 : kDefaultBudget;
  const uint64_t feeds = samples.batches();
  const bool cross = feeds < kFewFeeds;
  const uint64_t parts = cross ? std::clamp<uint64_t>(feeds, 1, kParts) : 2;
  double used = 0;
  std::set<std::string> x_values, y_values;
  for (RowRequest* request : requests) {
    const double bytes = static_cast<double>(parts) * RowSums::Bytes(request->rows);
    if (used + bytes > static_cast<double>(budget)) {
      request->problem = "its moments do not fit in the memory budget";
      continue;
    }
    used += bytes;
    request->cross = cross;
    for (uint64_t part = 0; part < parts; ++part) {
      request->parts.push_back(std::make_unique<RowSums>(request->rows));
    }
    x_values.insert(request->x);
    y_values.insert(request->y);
  }
  const bool same = &of_x == &of_y;
  if (same) x_values.insert(y_values.begin(), y_values.end());
  if (x_values.empty()) return absl::OkStatus();
  const size_t at_once = std::max<size_t>(1, context.pool->threads());
  Half x_half, y_half;
  MP_RETURN_IF_ERROR(x_half.Load(of_x, x_values, at_once));
  if (!same) MP_RETURN_IF_ERROR(y_half.Load(of_y, y_values, at_once));
  const Half& of_outputs = same ? x_half : y_half;
  std::vector<TensorMap> inputs(at_once);
  for (uint64_t first = 0; first < feeds; first += at_once) {
    const size_t count = std::min<uint64_t>(at_once, feeds - first);
    MP_RETURN_IF_ERROR(context.pool->ParallelFor(count, [&](size_t i) -> absl::Status {
      MP_RETURN_IF_ERROR(context.cancellation->Check());
      MP_ASSIGN_OR_RETURN(Batch batch, samples.Read(first + i));
      inputs[i] = std::move(batch.inputs);
      MP_RETURN_IF_ERROR(x_half.Run(inputs[i], i));
      return same ? absl::OkStatus() : y_half.Run(inputs[i], i);
    }));
    // In the order of feeds, whoever ran them.
    for (size_t i = 0; i < count; ++i) {
      for (RowRequest* request : requests) {
        if (!request->problem.empty()) continue;
        Add(*request, x_half.Find(request->x, inputs[i], i),
            of_outputs.Find(request->y, inputs[i], i), first + i, feeds, *context.pool);
      }
    }
  }
  for (RowRequest* request : requests) {
    const auto empty = [](const auto& part) { return part->rows() == 0; };
    if (request->problem.empty() && std::ranges::any_of(request->parts, empty)) {
      request->problem = "no sample came by it";
    }
    if (!request->problem.empty()) request->parts.clear();
  }
  return absl::OkStatus();
}

}  // namespace modelpress
