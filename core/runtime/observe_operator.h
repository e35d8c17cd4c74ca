// The operator behind a session's taps: y = Observe(x) of the domain "modelpress" hands x to a
// function while the model runs. y shares the bytes of x (but for outputs of graphs, which are
// copied): nothing lives longer than it would without the tap.
#pragma once

#include <memory>
#include <string>

#include "core/runtime/session.h"

namespace Ort {
struct CustomOpDomain;
}

namespace modelpress {

inline constexpr std::string_view kObserveDomain = "modelpress";
inline constexpr std::string_view kObserveType = "Observe";
inline constexpr std::string_view kTapAttribute = "tap";

// The domain with the operator bound to `observer`, to be added to session options. Both must
// outlive the session.
std::shared_ptr<Ort::CustomOpDomain> MakeObserveDomain(const TapObserver& observer);

}  // namespace modelpress
