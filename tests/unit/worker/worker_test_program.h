// How the misbehaving test worker is told what to do.
#pragma once

namespace modelpress {

inline constexpr char kMisbehaviourVariable[] = "MODELPRESS_TEST_MISBEHAVIOUR";

enum class Misbehaviour {
  kNone,
  kSegmentationFault,
  kBusError,
  kAbort,
  kKilled,
  kExitSilently,
  kHang,
  kGarbage,
};

}  // namespace modelpress
