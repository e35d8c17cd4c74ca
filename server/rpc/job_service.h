// The JobService of service.proto: unary calls answered at once from the job table, RunJob by a reactor per stream.
#pragma once

#include <grpcpp/grpcpp.h>

#include <mutex>

#include "modelpress/v1/service.grpc.pb.h"
#include "server/rpc/service_environment.h"
#include "server/rpc/stream_registry.h"

namespace modelpress {

class JobServiceImpl final : public v1::JobService::CallbackService {
 public:
  // Pointers in the environment outlive the service.
  explicit JobServiceImpl(ServiceEnvironment environment) : environment_(std::move(environment)) {}

  // Once, before the first call.
  void SetInstance(const std::string& address) {
    environment_.core.capabilities.set_instance(address);
  }
  StreamRegistry& streams() { return streams_; }

  grpc::ServerBidiReactor<v1::RunJobRequest, v1::RunJobResponse>* RunJob(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* GetCapabilities(grpc::CallbackServerContext* context,
                                            const v1::GetCapabilitiesRequest* request,
                                            v1::Capabilities* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context,
                                   const v1::GetJobRequest* request, v1::Job* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context,
                                     const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* context,
                                      const v1::CancelJobRequest* request,
                                      v1::Job* response) override;

 private:
  template <typename T>
  grpc::ServerUnaryReactor* Answer(RpcMethod method, grpc::CallbackServerContext* context,
                                   absl::StatusOr<T> result, T* response);

  ServiceEnvironment environment_;
  StreamRegistry streams_;
};

}  // namespace modelpress
