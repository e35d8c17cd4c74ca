// Gathering statistics over samples; see statistics.h.
#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/quant/value_types.h"
#include "core/statistics/accumulator.h"
#include "core/statistics/statistics.h"

namespace modelpress {

namespace {

constexpr uint64_t kDefaultGramBudget = uint64_t{1} << 30;

// Why a value cannot be tapped; empty if it can.
class Tappable {
 public:
  explicit Tappable(const Model& model)
      : model_(model.Clone()),
        index_(model_.mutable_proto()),
        types_(model_.mutable_proto(), index_) {
    ForEachNamedGraph(
        model_.mutable_proto(),
        [&](onnx::GraphProto& graph, const std::string& path) { graphs_.emplace(path, &graph); });
  }

  std::string Problem(const ValueKey& key) const {
    const auto found = graphs_.find(key.graph);
    if (found == graphs_.end()) return "there is no such graph";
    const onnx::GraphProto& graph = *found->second;
    if (index_.DefiningGraph(graph, key.value) != &graph) return "its graph does not define it";
    if (index_.Constant(graph, key.value) != nullptr) return "it is a constant";
    const bool is_input = std::ranges::any_of(
        graph.input(), [&](const auto& input) { return input.name() == key.value; });
    if (index_.Producer(graph, key.value) == nullptr && !is_input) return "it is a constant";
    const DataType type = types_.Find(graph, key.value);
    if (type != DataType::kFloat) {
      return FormatString("its element type is {}, not float32", DataTypeName(type));
    }
    return "";
  }

 private:
  Model model_;
  GraphIndex index_;
  ValueTypes types_;
  absl::flat_hash_map<std::string, const onnx::GraphProto*> graphs_;
};

std::string Describe(const ValueKey& key) {
  return key.graph.empty() ? FormatString("'{}'", key.value)
                           : FormatString("'{}' of {}", key.value, key.graph);
}

}  // namespace

const ValueStatistics* Statistics::Find(const ValueKey& key) const {
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second.empty()) return nullptr;
  return &found->second.front()->statistics;
}

const ValueStatistics* Statistics::FindRequest(const StatisticRequest& request) const {
  const auto found = entries_.find(request.key);
  if (found == entries_.end()) return nullptr;
  for (const auto& entry : found->second) {
    if (entry->request.channel_axis == request.channel_axis &&
        entry->request.gram == request.gram) {
      return &entry->statistics;
    }
  }
  return nullptr;
}

void Statistics::ForEach(
    const std::function<void(const ValueKey&, const ValueStatistics&)>& visit) const {
  for (const auto& [key, list] : entries_) {
    if (!list.empty()) visit(key, list.front()->statistics);
  }
}

// One call of GatherStatistics.
class Gathering {
 public:
  Gathering(const Model& model, const Samples& samples, const JobContext& context,
            const GatherProgress& progress)
      : model_(model), samples_(samples), context_(context), progress_(progress) {}

  absl::StatusOr<Statistics> Run(std::vector<StatisticRequest> requests) {
    result_.samples_ = samples_.batches();
    const Tappable tappable(model_);
    std::vector<Statistics::Entry*> entries;
    for (StatisticRequest& request : requests) {
      if (std::string problem = tappable.Problem(request.key); !problem.empty()) {
        result_.unobserved_.push_back({request.key, std::move(problem)});
        continue;
      }
      if (Statistics::Entry* entry = Add(std::move(request)); entry != nullptr) {
        entries.push_back(entry);
      }
    }
    std::ranges::stable_sort(entries, {}, [](const auto* entry) { return entry->request.key; });
    MP_ASSIGN_OR_RETURN(const std::vector<std::vector<Statistics::Entry*>> turns,
                        PlanTurns(entries));
    for (turn_ = 0; turn_ < turns.size(); ++turn_) {
      turns_ = turns.size();
      // The first turn gathers everything but the Grams of later turns.
      MP_RETURN_IF_ERROR(Forward(turn_ == 0 ? entries : turns[turn_], turns[turn_]));
      ++result_.forwards_;
    }
    DropUnobserved();
    return std::move(result_);
  }

 private:
  // A new entry, or null if an equal request is there already (which then gathers a histogram if
  // either wants one).
  Statistics::Entry* Add(StatisticRequest request) {
    auto& list = result_.entries_[request.key];
    for (const auto& entry : list) {
      if (entry->request.channel_axis == request.channel_axis &&
          entry->request.gram == request.gram) {
        entry->request.histogram |= request.histogram;
        return nullptr;
      }
    }
    list.push_back(std::make_unique<Statistics::Entry>());
    list.back()->request = std::move(request);
    return list.back().get();
  }

  // Which Grams are gathered in which forward.
  absl::StatusOr<std::vector<std::vector<Statistics::Entry*>>> PlanTurns(
      const std::vector<Statistics::Entry*>& entries) {
    std::vector<std::vector<Statistics::Entry*>> turns(1);
    std::vector<Statistics::Entry*> wanted;
    for (Statistics::Entry* entry : entries) {
      if (entry->request.gram.has_value()) wanted.push_back(entry);
    }
    if (wanted.empty() || samples_.batches() == 0) return turns;
    // One feed tells the extents.
    std::vector<std::vector<int64_t>> dims(wanted.size());
    MP_RETURN_IF_ERROR(RunFeeds(
        wanted, 1, [&](size_t tap, const Tensor& value, uint64_t) { dims[tap] = value.dims; }));
    const uint64_t budget =
        context_.memory_budget_bytes > 0 ? context_.memory_budget_bytes / 2 : kDefaultGramBudget;
    uint64_t used = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      const auto shape = GramShapeOf(*wanted[i]->request.gram, dims[i]);
      if (!shape.has_value()) {
        turns.back().push_back(wanted[i]);  // gathering says what is wrong
        continue;
      }
      const double bytes = 2.0 * sizeof(float) * static_cast<double>(shape->groups) *
                           static_cast<double>(shape->size) * static_cast<double>(shape->size);
      if (bytes > static_cast<double>(budget)) {
        result_.unobserved_.push_back(
            {wanted[i]->request.key,
             FormatString("its Gram matrices take {:.0f} MiB, more than the {} MiB for all of them",
                          bytes / (1 << 20), budget >> 20)});
        continue;
      }
      if (used + static_cast<uint64_t>(bytes) > budget) {
        turns.emplace_back();
        used = 0;
      }
      used += static_cast<uint64_t>(bytes);
      turns.back().push_back(wanted[i]);
    }
    return turns;
  }

  using Visit = std::function<void(size_t tap, const Tensor& value, uint64_t feed)>;

  // Runs the first `feeds` feeds with a tap for each entry.
  absl::Status RunFeeds(const std::vector<Statistics::Entry*>& entries, uint64_t feeds,
                        const Visit& visit) {
    uint64_t feed = 0;
    // One thread: with more of them the runtime splits its sums in other places, and the last bits
    // of what is observed would depend on their number. (Seen with 4 threads; 1 and 2 agreed.)
    SessionOptions options{.threads = 1};
    // Several requests of one value share its tap.
    std::vector<std::vector<size_t>> of_tap;
    for (size_t i = 0; i < entries.size(); ++i) {
      const ValueKey& key = entries[i]->request.key;
      if (options.taps.empty() || options.taps.back() != key) {
        options.taps.push_back(key);
        of_tap.emplace_back();
      }
      of_tap.back().push_back(i);
    }
    options.observer = [&](size_t tap, const Tensor& value) {
      for (const size_t i : of_tap[tap]) visit(i, value, feed);
    };
    MP_ASSIGN_OR_RETURN(const auto session, Session::Create(model_, options));
    for (; feed < feeds; ++feed) {
      MP_RETURN_IF_ERROR(context_.cancellation->Check());
      MP_ASSIGN_OR_RETURN(const Batch batch, samples_.Read(feed));
      MP_RETURN_IF_ERROR(session->Run(batch.inputs).status());
      MP_RETURN_IF_ERROR(failure_);
      if (progress_ && feeds > 1) {
        progress_((static_cast<double>(turn_) +
                   static_cast<double>(feed + 1) / static_cast<double>(feeds)) /
                  static_cast<double>(turns_));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Forward(const std::vector<Statistics::Entry*>& entries,
                       const std::vector<Statistics::Entry*>& with_gram) {
    std::vector<Accumulator> accumulators;
    for (const Statistics::Entry* entry : entries) {
      accumulators.emplace_back(entry->request, std::ranges::contains(with_gram, entry));
    }
    const uint64_t feeds = samples_.batches();
    std::vector<std::string> problems(entries.size());
    MP_RETURN_IF_ERROR(RunFeeds(entries, feeds, [&](size_t i, const Tensor& value, uint64_t feed) {
      if (!failure_.ok()) return;
      if (!accumulators[i].Add(value, feed, feeds < 5, *context_.pool, &problems[i])) {
        failure_ = NotFinite(entries[i]->request.key, feed);
      }
    }));
    for (size_t i = 0; i < entries.size(); ++i) {
      accumulators[i].Finish(turn_ > 0, &entries[i]->statistics);
      if (!problems[i].empty()) {
        result_.unobserved_.push_back({entries[i]->request.key, std::move(problems[i])});
      }
    }
    return absl::OkStatus();
  }

  absl::Status NotFinite(const ValueKey& key, uint64_t feed) const {
    return Error(ERROR_REASON_DATA_NOT_FINITE,
                 FormatString("value {} is NaN or infinite on sample {} of the {}", Describe(key),
                              feed, samples_.description()))
        .Tensor(key.value)
        .With("sample", std::to_string(feed))
        .Remedy("leave that sample out, or look at what the model does with it");
  }

  // Values that no feed came by are as if they had not been requested.
  void DropUnobserved() {
    for (auto& [key, list] : result_.entries_) {
      const bool seen =
          std::ranges::any_of(list, [](const auto& entry) { return entry->statistics.count > 0; });
      if (seen) continue;
      if (!list.empty()) result_.unobserved_.push_back({key, "no sample came by it"});
      list.clear();
    }
  }

  const Model& model_;
  const Samples& samples_;
  const JobContext& context_;
  const GatherProgress& progress_;
  Statistics result_;
  absl::Status failure_;
  size_t turn_ = 0;
  size_t turns_ = 1;
};

absl::StatusOr<Statistics> GatherStatistics(const Model& model, const Samples& samples,
                                            std::vector<StatisticRequest> requests,
                                            const JobContext& context,
                                            const GatherProgress& progress) {
  return Gathering(model, samples, context, progress).Run(std::move(requests));
}

}  // namespace modelpress
