// What a narrower model's report says of layers and groups.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/channels/dependency_groups.h"
#include "core/channels/refit.h"
#include "core/model/model.h"
#include "core/quant/skip.h"

namespace modelpress {

// A group that stays whole, by the first layer that makes it.
v1::Skip GroupSkip(const Dependencies& dependencies, const DependencyGroup& group,
                   SkipReason reason, std::string_view detail);
// Layers of subgraphs, whose channels are not followed.
void AddSubgraphSkips(const Model& model, std::vector<v1::Skip>* skips);
// A row for each layer that lost channels or was refitted. `refit` may be null.
std::vector<v1::Change> LayerChanges(const Dependencies& dependencies, const KeptPositions& kept,
                                     const ModelRefit* refit);
// How many layers were refitted in which way.
std::string Describe(const ModelRefit& refit);

}  // namespace modelpress
