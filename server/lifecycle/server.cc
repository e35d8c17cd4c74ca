// Wiring, start, drain and stop of the server: see server.h.
#include "server/lifecycle/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/scratch.h"
#include "core/base/status.h"
#include "server/config/server_config.h"
#include "server/jobs/worker_slots.h"
#include "server/lifecycle/housekeeper.h"
#include "server/observability/job_log.h"
#include "server/observability/log.h"
#include "server/observability/metrics.h"
#include "server/observability/metrics_endpoint.h"
#include "server/rpc/job_service.h"

namespace modelpress {
namespace {

// Health names of the probes; "" is the whole server.
constexpr const char* kReadinessNames[] = {"", "readiness", "modelpress.v1.JobService"};
constexpr char kLiveness[] = "liveness";
// Buffers of all connections together. Without a bound they grow with the number of slow peers.
constexpr size_t kTransportBytes = 64 << 20;
constexpr int kMessageBytes = 4 << 20;
constexpr int kMetadataBytes = 8 << 10;
constexpr auto kStopTime = std::chrono::seconds(2);

}  // namespace

// In order of construction; Stop and the destructors go backwards.
struct Server::Parts {
  ServerConfig config;
  SystemClock clock;
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<JobLog> job_log;
  std::unique_ptr<JobRunner> runner;
  std::unique_ptr<Scratch> scratch;
  std::unique_ptr<JobTable> table;
  std::unique_ptr<TaskPool> pool;
  std::unique_ptr<JobServiceImpl> service;
  std::unique_ptr<grpc::Server> grpc;
  std::unique_ptr<MetricsEndpoint> metrics_endpoint;
  std::unique_ptr<Housekeeper> housekeeper;
  std::unique_ptr<WorkerSlots> slots;
  int port = 0;

  absl::Status Listen();
  void SetReady(bool ready);
  void Stop();
};

absl::Status Server::Parts::Listen() {
  grpc::EnableDefaultHealthCheckService(true);
  if (config.reflection()) grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(config.listen(), grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(service.get());
  builder.SetMaxReceiveMessageSize(kMessageBytes);
  builder.SetMaxSendMessageSize(kMessageBytes);
  grpc::ResourceQuota quota("modelpressd");
  quota.Resize(kTransportBytes);
  builder.SetResourceQuota(quota);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 64);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT,
                             0);  // a second server on the port is an error
  // Half-open connections are found within 80 s; clients may ping every 20 s (else: GOAWAY too_many_pings).
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 20'000);
  grpc = builder.BuildAndStart();
  if (grpc == nullptr || port == 0) {
    return Error(ERROR_REASON_REQUEST_INVALID, FormatString("cannot listen on {}", config.listen()))
        .With("field", "listen")
        .Remedy("choose an address of this machine and a port that is free");
  }
  SetReady(true);
  grpc->GetHealthCheckService()->SetServingStatus(kLiveness, true);
  return absl::OkStatus();
}

void Server::Parts::SetReady(bool ready) {
  for (const char* name : kReadinessNames) {
    grpc->GetHealthCheckService()->SetServingStatus(name, ready);
  }
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerConfig config, CoreFunctions core,
                                                      std::unique_ptr<JobRunner> runner) {
  auto parts = std::make_unique<Parts>();
  parts->config = std::move(config);
  const ServerConfig& settings = parts->config;
  parts->runner = std::move(runner);
  MP_ASSIGN_OR_RETURN(parts->scratch, Scratch::Open(settings.scratch(),
                                                    settings.scratch_quota_bytes(), /*wipe=*/true));
  parts->metrics = std::make_unique<Metrics>(core.capabilities, settings);
  parts->job_log = std::make_unique<JobLog>(parts->metrics.get());

  JobTableOptions options;
  options.admission = {.memory_bytes = settings.memory_budget_bytes(),
                       .scratch_bytes = settings.scratch_quota_bytes(),
                       .workers = settings.workers(),
                       .max_queued_jobs = settings.max_queued_jobs()};
  options.limits = LimitsOf(settings);
  options.advertise = settings.advertise();
  options.scratch_folder = settings.scratch();
  options.threads_per_worker = settings.threads_per_worker();
  // Two threads at least: hashing goes on beside writing. The pool goes before the table, which its tasks use.
  parts->pool = std::make_unique<TaskPool>(std::clamp(std::thread::hardware_concurrency(), 2u, 8u));
  const Executor executor = [pool = parts->pool.get()](Task task) { pool->Post(std::move(task)); };
  parts->table = std::make_unique<JobTable>(options, &parts->clock, executor, parts->job_log.get());

  ServiceEnvironment environment;
  environment.table = parts->table.get();
  environment.clock = &parts->clock;
  environment.executor = executor;
  environment.limits = options.limits;
  environment.core = std::move(core);
  *environment.core.capabilities.mutable_limits() = options.limits;
  environment.core.capabilities.set_instance(settings.advertise());
  environment.job_listener = parts->job_log.get();
  environment.rpc_listener = parts->metrics.get();
  parts->service = std::make_unique<JobServiceImpl>(std::move(environment));
  MP_ASSIGN_OR_RETURN(parts->metrics_endpoint,
                      MetricsEndpoint::Start(settings.metrics(), parts->metrics->registry()));
  MP_RETURN_IF_ERROR(parts->Listen());
  if (settings.advertise().ends_with(":0")) {
    const std::string address = settings.advertise().substr(0, settings.advertise().size() - 1) +
                                std::to_string(parts->port);
    parts->table->SetAdvertise(address);
    parts->service->SetInstance(address);
  }
  parts->housekeeper = std::make_unique<Housekeeper>([raw = parts.get()] {
    raw->table->Tick();
    raw->service->streams().Tick(raw->clock.Now());
    raw->metrics->SetGauges(raw->table->Stats());
  });
  parts->slots =
      std::make_unique<WorkerSlots>(settings.workers(), parts->table.get(), parts->runner.get());
  const auto bound = [](const std::string& address, int port) {
    return FormatString("{}:{}", address.substr(0, address.rfind(':')), port);
  };
  LogLine(LogSeverity::kInfo, "server_started")
      .Add("listen", bound(settings.listen(), parts->port))
      .Add("metrics", bound(settings.metrics(), parts->metrics_endpoint->port()))
      .Add("workers", settings.workers())
      .Add("threads_per_worker", settings.threads_per_worker())
      .Add("memory_budget_bytes", settings.memory_budget_bytes())
      .Add("scratch_quota_bytes", settings.scratch_quota_bytes());
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() { parts_->Stop(); }

int Server::port() const { return parts_->port; }
int Server::metrics_port() const { return parts_->metrics_endpoint->port(); }
JobTableStats Server::Stats() const { return parts_->table->Stats(); }
size_t Server::open_streams() const { return parts_->service->streams().size(); }

void Server::Drain() {
  Parts& parts = *parts_;
  using Seconds = std::chrono::duration<double>;
  LogLine(LogSeverity::kInfo, "drain_started");
  parts.metrics->SetDraining();
  parts.SetReady(false);
  // Load balancers notice first; jobs that they still send are taken.
  std::this_thread::sleep_for(Seconds(parts.config.drain_delay_seconds()));
  parts.table->SetDraining();
  const auto deadline = std::chrono::steady_clock::now() + Seconds(parts.config.drain_seconds());
  while (!parts.table->Idle() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  const bool in_time = parts.table->Idle();
  if (!in_time) {
    parts.table->EndAll();
    // Workers are killed within a second, and clients are told.
    const auto told = std::chrono::steady_clock::now() + kStopTime;
    while (!parts.table->Idle() && std::chrono::steady_clock::now() < told) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  LogLine(LogSeverity::kInfo, "drain_finished").Add("in_time", in_time);
}

void Server::Parts::Stop() {
  if (table != nullptr) {
    table->SetDraining();
    table->EndAll();
  }
  if (grpc != nullptr) {
    grpc->Shutdown(std::chrono::system_clock::now() + kStopTime);
    grpc->Wait();
  }
  if (table != nullptr) table->Stop();
  slots.reset();
  housekeeper.reset();
  metrics_endpoint.reset();
  pool.reset();
  grpc.reset();
}

}  // namespace modelpress
