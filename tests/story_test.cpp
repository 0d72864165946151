// What led to what: the past of an event holds its causes and nothing that happened elsewhere.
#include "sim/story.h"

#include <gtest/gtest.h>

#include "sim/explain.h"
#include "sim/scenario.h"

namespace tally::sim {
namespace {

Event event(EventKind kind, uint32_t who, int64_t at_ms) {
  return Event{VirtualTime(std::chrono::milliseconds(at_ms)), 0, kind, who, 0};
}

std::vector<std::string> texts(const std::vector<Story::Line>& lines) {
  std::vector<std::string> all;
  for (const Story::Line& line : lines) all.push_back(line.text);
  return all;
}

using Texts = std::vector<std::string>;

TEST(Story, ThePastHoldsCausesOnly) {
  Story story(3, 1);
  story.begin_event(event(EventKind::kTimer, 0, 1), 0);  // 1: n1
  story.add_line(VirtualTime(), "n1", "n1 sends");
  story.begin_event(event(EventKind::kTimer, 1, 2), 0);  // 2: n2, elsewhere
  story.add_line(VirtualTime(), "n2", "n2 alone");
  story.begin_event(event(EventKind::kDeliver, 2, 3), 1);  // 3: at n3, of n1
  story.add_line(VirtualTime(), "n3", "n3 receives");
  story.begin_event(event(EventKind::kTimer, 2, 4), 0);  // 4: n3, later
  story.add_line(VirtualTime(), "n3", "n3 goes on");
  EXPECT_EQ(texts(story.past_of({4})), (Texts{"n1 sends", "n3 receives", "n3 goes on"}));
  EXPECT_EQ(texts(story.past_of({3})), (Texts{"n1 sends", "n3 receives"}));
  EXPECT_EQ(texts(story.past_of({2})), (Texts{"n2 alone"}));
  EXPECT_EQ(texts(story.past_of({})), Texts{});
  EXPECT_EQ(texts(story.past_of({99})), Texts{});
}

TEST(Story, AFaultIsAnEventOfItsTargets) {
  Story story(2, 0);
  story.begin_event(event(EventKind::kFault, 0, 1), 0);
  story.touch(1);
  story.add_line(VirtualTime(), "fault", "crash n2");
  story.begin_event(event(EventKind::kTimer, 0, 2), 0);
  story.begin_event(event(EventKind::kTimer, 1, 3), 0);
  EXPECT_EQ(texts(story.past_of({2})), Texts{});
  EXPECT_EQ(texts(story.past_of({3})), (Texts{"crash n2"}));
}

TEST(Explain, TellsThePastAndTheOracleAndChangesNothing) {
  Scenario scenario;
  ASSERT_EQ(parse_scenario("params { event_count_max: 1500 } fault { kind: CRASH trigger { at_ms: "
                           "400 } target { role: LEADER } duration_ms: 200 }",
                           "test", scenario),
            "");
  RunSpec spec;
  ASSERT_EQ(make_run_spec(scenario, 1, {}, spec), "");
  const RunResult plain = run(spec);
  spec.explain = true;
  World world(spec);
  const RunResult result = world.run();
  EXPECT_EQ(result.digest, plain.digest);
  ASSERT_TRUE(result.violation.has_value());
  const std::string text = explain_text(spec, result, world.story(), 10);
  for (const char* told :
       {"elected leader", "fault 1: crash the leader for 200 ms", "lines in between",
        "oracle     hang", "promised   a run ends within", "happened   1500 events"}) {
    EXPECT_NE(text.find(told), std::string::npos) << told << "\n" << text;
  }
  EXPECT_EQ(explain_text(spec, result, world.story(), 0).find("in between"), std::string::npos);
}

}  // namespace
}  // namespace tally::sim
