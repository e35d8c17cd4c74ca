// Options that several verbs share, said and read in one way.
#pragma once

#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "client/job/job.h"

namespace modelpress {

// --server and --retry-seconds.
struct ServerOptions {
  std::string address;
  double retry_seconds = 60;

  void AddTo(CLI::App* app);
  bool remote() const { return !address.empty(); }
  ServerSettings settings() const;
};

// What shapes the recipe of a job, and where its result goes.
struct JobOptions {
  std::string model;
  std::string output;
  std::string data;
  // Further models, of verbs that take them; see JobRequest.
  std::string student;
  std::string graph;
  std::string gate;
  std::vector<std::string> require;
  std::string report;
  size_t threads = 0;
  double deadline_seconds = 0;
  bool force = false;
  bool plan = false;
  bool json = false;
  ServerOptions server;

  void AddTo(CLI::App* app);
};

// --gate, --require, --data of verbs that judge.
void AddJudgingOptions(CLI::App* app, std::string* data, std::vector<std::string>* require);

// Adds the bounds of --require to the recipe.
absl::Status AddRequirements(const std::vector<std::string>& require, Recipe* recipe);

// Plans or runs the job, publishes its files and prints its report. The status is the job's.
absl::Status RunJob(const JobOptions& options, Recipe recipe);
// The second half: what to do with an outcome whose files are in `output`.
class OutputFiles;
absl::Status FinishJob(const JobOutcome& outcome, const std::string& report_path, bool json,
                       OutputFiles* output);

}  // namespace modelpress
