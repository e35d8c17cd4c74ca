// The JobService: see job_service.h.
#include "server/rpc/job_service.h"

#include <utility>

#include "server/rpc/grpc_status.h"
#include "server/rpc/run_job_reactor.h"

namespace modelpress {

template <typename T>
grpc::ServerUnaryReactor* JobServiceImpl::Answer(RpcMethod method,
                                                 grpc::CallbackServerContext* context,
                                                 absl::StatusOr<T> result, T* response) {
  environment_.rpc_listener->OnRpcStarted(method);
  environment_.rpc_listener->OnMessageReceived(method);
  if (result.ok()) {
    *response = *std::move(result);
    environment_.rpc_listener->OnMessageSent(method);
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(result.status()));
  // Answered from memory in microseconds: the time is not worth a clock.
  environment_.rpc_listener->OnRpcFinished(method, result.status().code(), absl::ZeroDuration());
  return reactor;
}

grpc::ServerBidiReactor<v1::RunJobRequest, v1::RunJobResponse>* JobServiceImpl::RunJob(
    grpc::CallbackServerContext* context) {
  return RunJobReactor::Create(&environment_, &streams_, context);
}

grpc::ServerUnaryReactor* JobServiceImpl::GetCapabilities(grpc::CallbackServerContext* context,
                                                          const v1::GetCapabilitiesRequest*,
                                                          v1::Capabilities* response) {
  return Answer<Capabilities>(RpcMethod::kGetCapabilities, context, environment_.core.capabilities,
                              response);
}

grpc::ServerUnaryReactor* JobServiceImpl::GetJob(grpc::CallbackServerContext* context,
                                                 const v1::GetJobRequest* request,
                                                 v1::Job* response) {
  return Answer(RpcMethod::kGetJob, context, environment_.table->Get(request->job_id()), response);
}

grpc::ServerUnaryReactor* JobServiceImpl::ListJobs(grpc::CallbackServerContext* context,
                                                   const v1::ListJobsRequest* request,
                                                   v1::ListJobsResponse* response) {
  return Answer(RpcMethod::kListJobs, context,
                environment_.table->List(request->page_size(), request->page_token()), response);
}

grpc::ServerUnaryReactor* JobServiceImpl::CancelJob(grpc::CallbackServerContext* context,
                                                    const v1::CancelJobRequest* request,
                                                    v1::Job* response) {
  return Answer(RpcMethod::kCancelJob, context, environment_.table->Cancel(request->job_id()),
                response);
}

}  // namespace modelpress
