// A running modelpressd: everything wired together, started and stopped.
//
//   Start   scratch wiped, gRPC and metrics listening, workers waiting
//   Drain   not ready; after a delay new jobs are refused; jobs under way finish within the grace time, then are ended
//   Stop    everything is joined; always returns within seconds
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "modelpress/v1/config.pb.h"
#include "server/jobs/job_runner.h"
#include "server/rpc/service_environment.h"

namespace modelpress {

class Server {
 public:
  // `config` is filled in and valid. `runner` carries out the jobs; owned. FILE_ACCESS (scratch), REQUEST_INVALID (an
  // address that cannot be listened on).
  static absl::StatusOr<std::unique_ptr<Server>> Start(v1::ServerConfig config, CoreFunctions core,
                                                       std::unique_ptr<JobRunner> runner);
  // Stops at once if Drain was not called.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The ports that were bound (where the configuration says 0).
  int port() const;
  int metrics_port() const;
  // What is alive now; for tests and metrics.
  JobTableStats Stats() const;
  size_t open_streams() const;

  // Returns when everything is finished or the time is over.
  void Drain();

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace modelpress
