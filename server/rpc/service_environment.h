// What every call uses. Made once by the server; outlives all calls.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "modelpress/v1/capabilities.pb.h"
#include "modelpress/v1/report.pb.h"
#include "server/jobs/clock.h"
#include "server/jobs/job_listener.h"
#include "server/jobs/job_table.h"
#include "server/rpc/rpc_listener.h"
#include "server/transfer/task_pool.h"

namespace modelpress {

// The core's part of admission, injected so that the service links without it in tests.
struct CoreFunctions {
  std::function<absl::Status(const v1::Recipe&)> validate_recipe;
  std::function<v1::Plan(uint64_t model_bytes, uint64_t data_bytes, const v1::Recipe&)> make_plan;
  v1::Capabilities capabilities;  // limits and instance are filled in by the server
};

struct ServiceEnvironment {
  JobTable* table = nullptr;
  const Clock* clock = nullptr;
  Executor executor;
  v1::Limits limits;
  CoreFunctions core;
  JobListener* job_listener = nullptr;
  RpcListener* rpc_listener = nullptr;
};

}  // namespace modelpress
