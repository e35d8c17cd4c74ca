// The configuration: defaults, flags over file over defaults, ranges.
#include <gtest/gtest.h>

#include <fstream>

#include "core/base/scratch.h"
#include "core/base/status.h"
#include "server/config/command_line.h"
#include "server/config/server_config.h"

namespace modelpress {
namespace {

const Machine kMachine = {
    .cores = 8, .memory_bytes = 1000, .scratch_free_bytes = 2000, .host_address = "pod"};

ServerConfig Filled() {
  ServerConfig config;
  config.set_scratch("/scratch");
  FillDefaults(kMachine, &config);
  return config;
}

TEST(ServerConfigTest, DefaultsComeFromTheMachine) {
  const ServerConfig config = Filled();
  EXPECT_EQ(config.workers(), 4u);
  EXPECT_EQ(config.threads_per_worker(), 2u);
  EXPECT_EQ(config.max_queued_jobs(), 8u);
  EXPECT_EQ(config.memory_budget_bytes(), 800u);
  EXPECT_EQ(config.scratch_quota_bytes(), 1600u);
  EXPECT_EQ(config.advertise(), "pod:7600");
  EXPECT_EQ(config.drain_delay_seconds(), 5);
  EXPECT_TRUE(config.reflection());
  EXPECT_TRUE(ValidateConfig(config).ok());
}

TEST(ServerConfigTest, WhatIsGivenStays) {
  ServerConfig config;
  config.set_listen("10.0.0.1:1");
  config.set_workers(1);
  config.set_drain_delay_seconds(0);
  config.set_max_deadline_seconds(60);
  FillDefaults(kMachine, &config);
  EXPECT_EQ(config.advertise(), "10.0.0.1:1");
  EXPECT_EQ(config.threads_per_worker(), 8u);
  EXPECT_EQ(config.drain_delay_seconds(), 0);
  EXPECT_EQ(config.default_deadline_seconds(), 60);
}

TEST(ServerConfigTest, RefusesWhatCannotWork) {
  struct Case {
    const char* field;
    void (*change)(ServerConfig&);
  };
  const Case cases[] = {
      {"scratch", [](ServerConfig& c) { c.clear_scratch(); }},
      {"listen", [](ServerConfig& c) { c.set_listen("nowhere"); }},
      {"metrics", [](ServerConfig& c) { c.set_metrics("h:70000"); }},
      {"advertise", [](ServerConfig& c) { c.set_advertise("a@b:1"); }},
      {"workers", [](ServerConfig& c) { c.set_workers(5000); }},
      {"max_job_bytes", [](ServerConfig& c) { c.set_max_job_bytes(1); }},
      {"lease_seconds", [](ServerConfig& c) { c.set_lease_seconds(-1); }},
      {"stall_seconds", [](ServerConfig& c) { c.set_stall_seconds(1e300); }},
      {"drain_seconds", [](ServerConfig& c) { c.set_drain_seconds(-2); }},
      {"default_deadline_seconds", [](ServerConfig& c) { c.set_default_deadline_seconds(20000); }},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.field);
    ServerConfig config = Filled();
    c.change(config);
    const absl::Status status = ValidateConfig(config);
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_REQUEST_INVALID) << status;
    EXPECT_EQ(DetailOf(status).metadata().at("field"), c.field);
  }
}

TEST(ServerConfigTest, HostAndPort) {
  EXPECT_EQ(ParseHostPort("[::1]:80")->host, "::1");
  EXPECT_EQ(ParseHostPort("a:0")->port, 0);
  for (const char* text : {"", "a", "a:", "a:b", "a:-1", "a:65536"})
    EXPECT_FALSE(ParseHostPort(text).ok()) << text;
}

class CommandLineTest : public ::testing::Test {
 protected:
  static absl::StatusOr<CommandLine> Read(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "modelpressd");
    return ReadCommandLine(static_cast<int>(arguments.size()), arguments.data(), "9.9.9");
  }
  std::string File(const std::string& text) {
    const std::string path = scratch_->folder() + "/config.yaml";
    std::ofstream(path) << text;
    return path;
  }
  std::unique_ptr<Scratch> scratch_ = *Scratch::Temporary(0);
};

TEST_F(CommandLineTest, FlagsReplaceTheFile) {
  const std::string path = File("listen: 127.0.0.1:1\nworkers: 3\ndrain_delay_seconds: 0\n");
  const auto result =
      Read({"--config", path.c_str(), "--workers", "5", "--no-reflection", "--check-config"});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->config.listen(), "127.0.0.1:1");
  EXPECT_EQ(result->config.workers(), 5u);
  EXPECT_TRUE(result->config.has_drain_delay_seconds());
  EXPECT_FALSE(result->config.reflection());
  EXPECT_TRUE(result->check_config);
}

TEST_F(CommandLineTest, MistakesHaveTheirReason) {
  EXPECT_EQ(ReasonOf(Read({"--nonsense"}).status()), ERROR_REASON_REQUEST_INVALID);
  EXPECT_EQ(ReasonOf(Read({"--workers", "many"}).status()), ERROR_REASON_REQUEST_INVALID);
  EXPECT_EQ(ReasonOf(Read({"--config", "/nonexistent"}).status()), ERROR_REASON_FILE_ACCESS);
  const std::string path = File("wokers: 3\n");
  const absl::Status status = Read({"--config", path.c_str()}).status();
  EXPECT_EQ(DetailOf(status).metadata().at("nearest"), "workers") << status;
  EXPECT_EQ(DetailOf(status).metadata().at("path"), path);
}

TEST_F(CommandLineTest, HelpAndVersionOnlyPrint) {
  EXPECT_EQ(Read({"--version"})->text, "9.9.9\n");
  EXPECT_NE(Read({"--help"})->text.find("--scratch"), std::string::npos);
}

}  // namespace
}  // namespace modelpress
