// The options of quantize_static, validated and as what they mean for the quantizer.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "core/measure/static_quantizer.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

// RECIPE_INVALID with the field's path.
absl::Status ValidateStaticOptions(const v1::QuantizeStatic& options);

// Types, grids and placement: what the target wants, and what the options say on top of it.
StaticQuantization QuantizationOf(const v1::QuantizeStatic& options);

// The ways to choose ranges that are tried: the one that is asked for; all, where they can be compared.
std::vector<RangeRule> RangeRulesOf(const v1::QuantizeStatic& options);

// Grids of 16 bits: the runtime only simulates them.
bool Is16Bit(v1::QuantizeStatic::Type type);

}  // namespace modelpress
