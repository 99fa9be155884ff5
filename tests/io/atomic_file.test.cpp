#include <csignal>
#include <stdexcept>

#include <doctest/doctest.h>

#include <stroma/io/atomic_file.hpp>

#include "scratch.hpp"
#if defined(__unix__)
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

using stroma::atomic_file;
using stroma::format_error;

TEST_CASE("atomic_file: nothing is seen before commit, all after") {
  const scratch_folder folder;
  const auto target = folder.file("a.txt", "old");
  {
    atomic_file out(target);
    out.write(std::string_view("ne"));
    out.write(std::string_view("w"));
    CHECK(bytes_of(target) == "old");
    CHECK(folder.count() == 2);
    out.commit();
    CHECK(bytes_of(target) == "new");
  }
  CHECK(bytes_of(target) == "new");
  CHECK(folder.count() == 1);
}

TEST_CASE("atomic_file: a writer that throws midway leaves the old file and no other") {
  const scratch_folder folder;
  const auto target = folder.file("a.txt", "old");
  CHECK_THROWS_AS(
      [&] {
        atomic_file out(target);
        out.write(std::string_view("half a file"));
        throw std::runtime_error("power");
      }(),
      std::runtime_error);
  CHECK(bytes_of(target) == "old");
  CHECK(folder.count() == 1);
}

TEST_CASE("atomic_file: two writers of one target, and a name left by a killed one, do not meet") {
  const scratch_folder folder;
  folder.file(".stroma.0.tmp", "left behind");
  atomic_file one(folder / "a"), two(folder / "a");
  one.write(std::string_view("one"));
  two.write(std::string_view("two"));
  two.commit();
  one.commit();
  CHECK(bytes_of(folder / "a") == "one");
  CHECK(bytes_of(folder / ".stroma.0.tmp") == "left behind");
  CHECK(folder.count() == 2);
}

TEST_CASE("atomic_file: permissions of an existing file stay") {
  const scratch_folder folder;
  const auto target = folder.file("a.txt", "old");
  const auto mode = std::filesystem::perms::owner_read | std::filesystem::perms::owner_write;
  std::filesystem::permissions(target, mode);
  atomic_file out(target);
  out.commit();
  CHECK(std::filesystem::status(target).permissions() == mode);
  CHECK(bytes_of(target).empty());
}

TEST_CASE("atomic_file: places that cannot be written are named") {
  const scratch_folder folder;
  CHECK(contains(message_of<format_error>([&] { atomic_file out(folder / "no/such/folder"); }), "cannot be created"));
  CHECK(contains(message_of<format_error>([&] { atomic_file out(folder.path(), "save"); }),
                 "save: " + folder.path().string() + ": a directory, expected a file"));
}

#if defined(__linux__)
TEST_CASE("atomic_file: a process killed while it writes leaves the old file") {
  const scratch_folder folder;
  const auto target = folder.file("a.txt", "old");
  const auto child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    atomic_file out(target);
    out.write(std::string(1 << 20, 'x'));
    std::raise(SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(bytes_of(target) == "old");
  CHECK(folder.count() == 2);
}

TEST_CASE("atomic_file: a full disk is reported and leaves the old file") {
  const scratch_folder folder;
  const auto target = folder.file("a.txt", "old");
  const auto child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {  // in a process of its own: the limit cannot be raised again
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto said = message_of<format_error>([&] {
      atomic_file out(target);
      out.write(std::string(1 << 20, 'x'));
      out.commit();
    });
    ::_exit(contains(said, "cannot be written") && bytes_of(target) == "old" && folder.count() == 1 ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif
