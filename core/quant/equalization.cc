// Cross-layer equalization; see equalization.h.
#include "core/quant/equalization.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/base/status.h"
#include "core/quant/channel_scaling.h"

namespace modelpress {
namespace {

constexpr int kMaxSweeps = 40;
// Factors that move by less than this have settled.
constexpr double kSettled = 1e-3;
// A group must gain this many bits a channel to be touched.
constexpr double kWorthwhileBits = 0.02;
// Beyond this, a channel is not small but empty.
constexpr double kLargestFactor = 1 << 24;

using Factors = std::vector<std::vector<double>>;

double FactorAt(const Factors& factors, int group, uint64_t channel) {
  return group < 0 || factors[group].empty() ? 1.0 : factors[group][channel];
}

// Calls visit(output channel, input channel, floats) for each run of `inner` elements.
template <typename Visit>
void ForEachRun(const ChannelGrid& grid, const Visit& visit) {
  for (uint64_t r = 0; r < grid.rows; ++r) {
    for (uint64_t c = 0; c < grid.columns; ++c) {
      const uint64_t across = grid.ColumnChannel(r, c);
      const uint64_t at = (r * grid.columns + c) * grid.inner;
      if (grid.rows_are_outputs) {
        visit(r, across, at);
      } else {
        visit(across, r, at);
      }
    }
  }
}

class Solver {
 public:
  Solver(const Model& model, const ChannelGroups& groups, const std::vector<GroupRanges>& ranges,
         const JobContext& context)
      : model_(model), groups_(groups), ranges_(ranges), context_(context) {
    for (const ChannelGroup& group : groups.groups) {
      factors_.emplace_back(group.channels, 1.0);
      members_.emplace_back();
    }
    for (size_t w = 0; w < groups.weights.size(); ++w) {
      const ScaledWeight& weight = groups.weights[w];
      if (weight.output >= 0) members_[weight.output].push_back({w, true});
      if (weight.input >= 0) members_[weight.input].push_back({w, false});
    }
  }

  absl::StatusOr<std::vector<EqualizedGroup>> Solve() {
    const size_t count = groups_.groups.size();
    std::vector<EqualizedGroup> result(count);
    for (size_t g = 0; g < count; ++g) {
      MP_ASSIGN_OR_RETURN(result[g].bits_before, BitsLost(g));
    }
    for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
      double moved = 0;
      for (size_t g = 0; g < count; ++g) {
        MP_ASSIGN_OR_RETURN(const double by, Equalize(g));
        moved = std::max(moved, by);
      }
      if (moved < kSettled) break;
    }
    for (size_t g = 0; g < count; ++g) {
      MP_ASSIGN_OR_RETURN(result[g].bits_after, BitsLost(g));
      std::vector<double> solved = factors_[g];
      std::ranges::fill(factors_[g], 1.0);
      MP_ASSIGN_OR_RETURN(const double without, BitsLost(g));
      result[g].changed = result[g].bits_after < without - kWorthwhileBits;
      if (result[g].changed) factors_[g] = std::move(solved);
      if (!result[g].changed) result[g].bits_after = without;
    }
    for (size_t g = 0; g < count; ++g) result[g].factors = factors_[g];
    return result;
  }

 private:
  struct Member {
    size_t weight;
    bool output;
  };

  // max |w| of each channel of one side, all present factors applied.
  absl::StatusOr<std::vector<double>> Ranges(const Member& member) const {
    MP_RETURN_IF_ERROR(context_.cancellation->Check());
    const ScaledWeight& weight = groups_.weights[member.weight];
    MP_ASSIGN_OR_RETURN(const auto bytes, model_.Bytes(*weight.tensor));
    const int own = member.output ? weight.output : weight.input;
    std::vector<double> ranges(groups_.groups[own].channels, 0.0);
    ForEachRun(weight.grid, [&](uint64_t out, uint64_t in, uint64_t at) {
      float largest = 0;
      for (uint64_t i = 0; i < weight.grid.inner; ++i) {
        largest = std::max(largest, std::abs(FloatAt(bytes, at + i)));
      }
      const double scaled =
          largest * FactorAt(factors_, weight.output, out) / FactorAt(factors_, weight.input, in);
      double& range = ranges[member.output ? out : in];
      range = std::max(range, scaled);
    });
    return ranges;
  }

  // Ranges of everything that carries the group's channels: makers first.
  struct Sides {
    std::vector<std::vector<double>> makers, readers;
  };
  absl::StatusOr<Sides> AllRanges(size_t g) const {
    Sides sides;
    for (const Member& member : members_[g]) {
      MP_ASSIGN_OR_RETURN(auto ranges, Ranges(member));
      (member.output ? sides.makers : sides.readers).push_back(std::move(ranges));
    }
    if (!ranges_[g].value.empty()) {
      std::vector<double> value = ranges_[g].value;
      for (size_t c = 0; c < value.size(); ++c) value[c] *= factors_[g][c];
      sides.makers.push_back(std::move(value));
    }
    return sides;
  }

  // Channels that are all zero somewhere tell nothing.
  static bool IsLive(const Sides& sides, size_t c) {
    for (const auto* list : {&sides.makers, &sides.readers}) {
      for (const auto& ranges : *list) {
        if (!(ranges[c] > 0) || !std::isfinite(ranges[c])) return false;
      }
    }
    return true;
  }

  absl::StatusOr<double> BitsLost(size_t g) const {
    MP_ASSIGN_OR_RETURN(const Sides sides, AllRanges(g));
    double bits = 0;
    uint64_t count = 0;
    for (const auto* list : {&sides.makers, &sides.readers}) {
      for (const auto& ranges : *list) {
        const double largest = *std::ranges::max_element(ranges);
        for (size_t c = 0; c < ranges.size(); ++c) {
          if (!IsLive(sides, c)) continue;
          bits += std::log2(largest / ranges[c]);
          ++count;
        }
      }
    }
    return count == 0 ? 0 : bits / static_cast<double>(count);
  }

  static double MeanLog(const std::vector<std::vector<double>>& list, size_t c) {
    double sum = 0;
    for (const auto& ranges : list) sum += std::log(ranges[c]);
    return sum / static_cast<double>(list.size());
  }

  // One step of one group; how far its factors moved (largest |log|).
  absl::StatusOr<double> Equalize(size_t g) {
    MP_ASSIGN_OR_RETURN(const Sides sides, AllRanges(g));
    std::vector<double>& factors = factors_[g];
    const GroupRanges& limits = ranges_[g];
    const auto pinned = [&](size_t c) { return !limits.pinned.empty() && limits.pinned[c]; };
    const auto highest = [&](size_t c) {
      return limits.highest.empty() ? std::numeric_limits<double>::infinity() : limits.highest[c];
    };
    std::vector<double> target(factors.size());
    std::vector<bool> live(factors.size());
    double sum = 0, pinned_sum = 0;
    uint64_t count = 0, pinned_count = 0;
    for (size_t c = 0; c < factors.size(); ++c) {
      live[c] = IsLive(sides, c);
      if (!live[c]) continue;
      target[c] = std::log(factors[c]) + (MeanLog(sides.readers, c) - MeanLog(sides.makers, c)) / 2;
      sum += target[c];
      ++count;
      if (!pinned(c)) continue;
      pinned_sum += target[c];
      ++pinned_count;
    }
    if (count == 0) return 0.0;
    // One factor for all channels changes no ratio. It is chosen so that channels that must stay
    // stay, or that limits are kept, or that nothing grows on average.
    double shift = pinned_count > 0 ? pinned_sum / static_cast<double>(pinned_count)
                                    : sum / static_cast<double>(count);
    if (pinned_count == 0) {
      for (size_t c = 0; c < factors.size(); ++c) {
        if (live[c]) shift = std::max(shift, target[c] - std::log(highest(c)));
      }
    }
    double moved = 0;
    for (size_t c = 0; c < factors.size(); ++c) {
      const double next =
          !live[c] || pinned(c)
              ? 1.0
              : std::clamp(std::exp(target[c] - shift), 1 / kLargestFactor,
                           std::min(kLargestFactor, std::max(highest(c), 1 / kLargestFactor)));
      moved = std::max(moved, std::abs(std::log(next / factors[c])));
      factors[c] = next;
    }
    return moved;
  }

  const Model& model_;
  const ChannelGroups& groups_;
  const std::vector<GroupRanges>& ranges_;
  const JobContext& context_;
  Factors factors_;
  std::vector<std::vector<Member>> members_;
};

}  // namespace

absl::StatusOr<std::vector<EqualizedGroup>> SolveEqualization(
    const Model& model, const ChannelGroups& groups, const std::vector<GroupRanges>& ranges,
    const JobContext& context) {
  return Solver(model, groups, ranges, context).Solve();
}

absl::Status ApplyFactors(Model& model, const ChannelGroups& groups,
                          const std::vector<std::vector<double>>& factors, WeightArena& arena,
                          const JobContext& context) {
  for (const ScaledWeight& weight : groups.weights) {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    const auto untouched = [&](int group) { return group < 0 || factors[group].empty(); };
    if (untouched(weight.output) && untouched(weight.input)) continue;
    MP_RETURN_IF_ERROR(RefillFloats(
        model, weight.tensor, arena, [&](std::span<const std::byte> from, std::span<std::byte> to) {
          ForEachRun(weight.grid, [&](uint64_t out, uint64_t in, uint64_t at) {
            const double factor =
                FactorAt(factors, weight.output, out) / FactorAt(factors, weight.input, in);
            MultiplyFloats(from, at, weight.grid.inner, factor, to);
          });
        }));
  }
  for (const ScaledBias& bias : groups.biases) {
    if (factors[bias.output].empty()) continue;
    MP_RETURN_IF_ERROR(ScaleChannels(model, bias.tensor, bias.layout, factors[bias.output], arena));
  }
  return absl::OkStatus();
}

}  // namespace modelpress
