// Adaptive group testing for noise; see noise_shares.h.
#include "core/measure/noise_shares.h"

#include <algorithm>
#include <numeric>

#include "core/base/status.h"

namespace modelpress {
namespace {

struct Group {
  std::vector<size_t> parts;
  double noise = 0;
};

}  // namespace

absl::StatusOr<std::vector<double>> NoiseShares(const std::vector<double>& own, int measurements,
                                                const NoiseOf& noise) {
  std::vector<Group> groups;
  const auto add = [&](std::vector<size_t> parts) -> absl::Status {
    MP_ASSIGN_OR_RETURN(const double measured, noise(parts));
    groups.push_back({std::move(parts), measured});
    --measurements;
    return absl::OkStatus();
  };
  std::vector<size_t> all(own.size());
  std::iota(all.begin(), all.end(), size_t{0});
  if (own.size() <= static_cast<size_t>(std::max(measurements, 1))) {
    for (const size_t part : all) MP_RETURN_IF_ERROR(add({part}));
  } else {
    MP_RETURN_IF_ERROR(add(std::move(all)));
    while (measurements >= 2) {
      // The first of equals, so that the result is the same everywhere.
      auto worst = groups.end();
      for (auto group = groups.begin(); group != groups.end(); ++group) {
        if (group->parts.size() < 2) continue;
        if (worst == groups.end() || group->noise > worst->noise) worst = group;
      }
      if (worst == groups.end()) break;
      const std::vector<size_t> parts = std::move(worst->parts);
      groups.erase(worst);
      const auto middle = parts.begin() + static_cast<std::ptrdiff_t>(parts.size() / 2);
      MP_RETURN_IF_ERROR(add({parts.begin(), middle}));
      MP_RETURN_IF_ERROR(add({middle, parts.end()}));
    }
  }
  std::vector<double> shares(own.size());
  for (const Group& group : groups) {
    double sum = 0;
    for (const size_t part : group.parts) sum += own[part];
    for (const size_t part : group.parts) {
      shares[part] =
          group.noise * (sum > 0 ? own[part] / sum : 1.0 / static_cast<double>(group.parts.size()));
    }
  }
  return shares;
}

}  // namespace modelpress
