// Flags and configuration file: see command_line.h.
#include "server/config/command_line.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include "core/base/status.h"
#include "core/recipe/recipe_reader.h"

namespace modelpress {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

absl::Status ReadConfigFile(const std::string& path, ServerConfig* config) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxConfigBytes + 1, '\0');
  if (!file) {
    return Error(ERROR_REASON_FILE_ACCESS, "cannot read the configuration file " + path)
        .With("path", path);
  }
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxConfigBytes) {
    return Error(ERROR_REASON_REQUEST_INVALID,
                 "the configuration file " + path + " is larger than 1 MiB");
  }
  return Annotate(ReadYaml(text, config), "path", path);
}

// Flags that are given replace what the file says.
struct Flags {
  std::string config_path;
  std::optional<std::string> listen, metrics, scratch, advertise;
  std::optional<uint64_t> scratch_quota, memory_budget, max_blob, max_job;
  std::optional<uint32_t> workers, threads, max_queued;
  std::optional<double> default_deadline, max_deadline, lease, stall, drain_delay, drain;
  std::optional<bool> reflection;

  void AddTo(CLI::App& app);
  void ApplyTo(ServerConfig* config) const;
};

void Flags::AddTo(CLI::App& app) {
  app.add_option("--config", config_path, "YAML file with the fields of ServerConfig");
  app.add_option("--listen", listen, "HOST:PORT of gRPC (0.0.0.0:7600)");
  app.add_option("--metrics", metrics, "HOST:PORT of /metrics (0.0.0.0:7601)");
  app.add_option("--scratch", scratch, "folder for uploads and results; wiped at start");
  app.add_option("--scratch-quota-bytes", scratch_quota,
                 "bytes that jobs may occupy there (80 % of what is free)");
  app.add_option("--advertise", advertise, "HOST:PORT that clients dial for this very instance");
  app.add_option("--workers", workers, "jobs that run at once (half of the cores)");
  app.add_option("--threads-per-worker", threads, "threads of each job (cores / workers)");
  app.add_option("--max-queued-jobs", max_queued, "jobs that wait (2 x workers)");
  app.add_option("--memory-budget-bytes", memory_budget, "memory for all jobs (80 % of the limit)");
  app.add_option("--max-blob-bytes", max_blob, "largest file (64 GiB)");
  app.add_option("--max-job-bytes", max_job, "largest job (128 GiB)");
  app.add_option("--default-deadline-seconds", default_deadline,
                 "running time of a job that does not say (1800)");
  app.add_option("--max-deadline-seconds", max_deadline, "longest running time of a job (14400)");
  app.add_option("--lease-seconds", lease, "how long a job is kept with no stream attached (60)");
  app.add_option("--stall-seconds", stall, "how long a peer may be silent (30)");
  app.add_option("--drain-delay-seconds", drain_delay,
                 "SIGTERM: time for load balancers to notice (5)");
  app.add_option("--drain-seconds", drain, "SIGTERM: time for jobs to finish (600)");
  app.add_flag("--reflection,!--no-reflection", reflection, "gRPC server reflection (on)");
}

void Flags::ApplyTo(ServerConfig* config) const {
  if (listen) config->set_listen(*listen);
  if (metrics) config->set_metrics(*metrics);
  if (scratch) config->set_scratch(*scratch);
  if (advertise) config->set_advertise(*advertise);
  if (scratch_quota) config->set_scratch_quota_bytes(*scratch_quota);
  if (memory_budget) config->set_memory_budget_bytes(*memory_budget);
  if (max_blob) config->set_max_blob_bytes(*max_blob);
  if (max_job) config->set_max_job_bytes(*max_job);
  if (workers) config->set_workers(*workers);
  if (threads) config->set_threads_per_worker(*threads);
  if (max_queued) config->set_max_queued_jobs(*max_queued);
  if (default_deadline) config->set_default_deadline_seconds(*default_deadline);
  if (max_deadline) config->set_max_deadline_seconds(*max_deadline);
  if (lease) config->set_lease_seconds(*lease);
  if (stall) config->set_stall_seconds(*stall);
  if (drain_delay) config->set_drain_delay_seconds(*drain_delay);
  if (drain) config->set_drain_seconds(*drain);
  if (reflection) config->set_reflection(*reflection);
}

}  // namespace

absl::StatusOr<CommandLine> ReadCommandLine(int argc, const char* const* argv,
                                            std::string_view version) {
  CommandLine result;
  CLI::App app("modelpressd: compresses and converts models over gRPC");
  app.set_version_flag("--version", std::string(version));
  app.add_flag("--check-config", result.check_config,
               "check the configuration, print it in full, and exit");
  Flags flags;
  flags.AddTo(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream errors;
    if (app.exit(error, out, errors) == 0) {  // --help, --version
      result.text = out.str();
      return result;
    }
    return Error(ERROR_REASON_REQUEST_INVALID, error.what()).Remedy("see modelpressd --help");
  }
  if (!flags.config_path.empty())
    MP_RETURN_IF_ERROR(ReadConfigFile(flags.config_path, &result.config));
  flags.ApplyTo(&result.config);
  return result;
}

}  // namespace modelpress
