// Unary calls; see unary.h.
#include "client/session/unary.h"

#include <chrono>
#include <memory>
#include <utility>

#include "client/session/channel.h"
#include "client/session/rpc_error.h"
#include "grpcpp/client_context.h"
#include "modelpress/v1/service.grpc.pb.h"

namespace modelpress {
namespace {

constexpr std::chrono::seconds kDeadline{20};
constexpr int kPageSize = 1000;
// A server that never ends its pages is broken.
constexpr int kMaxPages = 1000;

template <typename Request, typename Response>
absl::StatusOr<Response> Call(v1::JobService::Stub* stub,
                              grpc::Status (v1::JobService::Stub::*method)(grpc::ClientContext*,
                                                                           const Request&,
                                                                           Response*),
                              const Request& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  Response response;
  const RpcError error = FromRpc((stub->*method)(&context, request, &response));
  if (!error.status.ok()) return error.status;
  return response;
}

std::unique_ptr<v1::JobService::Stub> StubForJob(const std::string& server,
                                                 const std::string& job_id) {
  const std::string address(InstanceAddress(job_id));
  return v1::JobService::NewStub(address.empty() ? OpenChannel(server, Routing::kAnyReplica)
                                                 : OpenChannel(address, Routing::kOneInstance));
}

}  // namespace

absl::StatusOr<Capabilities> GetCapabilities(const std::string& server) {
  auto stub = v1::JobService::NewStub(OpenChannel(server, Routing::kAnyReplica));
  return Call(stub.get(), &v1::JobService::Stub::GetCapabilities, GetCapabilitiesRequest());
}

absl::StatusOr<std::vector<Job>> ListJobs(const std::string& server) {
  // One instance for all pages: a page token means nothing to another.
  auto stub = v1::JobService::NewStub(OpenChannel(server, Routing::kOneInstance));
  std::vector<Job> jobs;
  ListJobsRequest request;
  request.set_page_size(kPageSize);
  for (int page = 0; page < kMaxPages; ++page) {
    MP_ASSIGN_OR_RETURN(ListJobsResponse response,
                        Call(stub.get(), &v1::JobService::Stub::ListJobs, request));
    for (Job& job : *response.mutable_jobs()) jobs.push_back(std::move(job));
    if (response.next_page_token().empty()) return jobs;
    request.set_page_token(response.next_page_token());
  }
  return Error(ERROR_REASON_PROTOCOL_VIOLATION, "the server's list of jobs has no end");
}

absl::StatusOr<Job> GetJob(const std::string& server, const std::string& job_id) {
  GetJobRequest request;
  request.set_job_id(job_id);
  return Call(StubForJob(server, job_id).get(), &v1::JobService::Stub::GetJob, request);
}

absl::StatusOr<Job> CancelJob(const std::string& server, const std::string& job_id) {
  CancelJobRequest request;
  request.set_job_id(job_id);
  return Call(StubForJob(server, job_id).get(), &v1::JobService::Stub::CancelJob, request);
}

}  // namespace modelpress
