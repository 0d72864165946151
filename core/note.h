// Notes: the closed list of things worth telling that happen inside a node, and why.
//
// Each is a line of the narrated trace and a probe of coverage: a sweep counts them, and a note
// that no seed ever lights is a part of Raft that no test reached. Notes steer no node and are in
// no digest; a fault of a scenario may wait for one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/types.h"

// X(name, text). In the text {p} is the peer, {a} and {b} are the two numbers.
#define TALLY_NOTES(X)                                                                             \
  X(election_timeout, "hears no leader: asks for pre-votes for term {a}")                          \
  X(pre_vote_granted, "pre-vote for n{p} granted: term {a}")                                       \
  X(pre_vote_refused_log_behind, "pre-vote for n{p} refused: its log ends at {a}, mine at {b}")    \
  X(pre_vote_refused_leader_alive, "pre-vote for n{p} refused: leader heard lately")               \
  X(pre_vote_refused_stale_term, "pre-vote for n{p} refused: it asks for term {a}, mine is {b}")   \
  X(became_candidate, "pre-votes of a quorum: campaigns in term {a}")                              \
  X(vote_granted, "vote for n{p} granted in term {a}")                                             \
  X(vote_granted_again, "vote for n{p} in term {a} repeated")                                      \
  X(vote_refused_log_behind, "vote for n{p} refused: its log ends at {a}, mine at {b}")            \
  X(vote_refused_already_voted, "vote for n{p} refused: voted for n{a} in term {b}")               \
  X(vote_refused_leader_alive, "vote for n{p} refused: leader heard lately")                       \
  X(vote_refused_stale_term, "vote for n{p} refused: it asks for term {a}, mine is {b}")           \
  X(vote_reply_ignored, "vote of n{p} in term {a} not counted: decided, or older than term {b}")   \
  X(became_leader, "elected leader of term {a}, log ends at {b}")                                  \
  X(higher_term_seen, "term {a} seen from n{p}: follows, mine was {b}")                            \
  X(leader_found, "follows n{p}, leader of term {a}")                                              \
  X(candidate_yields, "stops campaigning: n{p} leads term {a}")                                    \
  X(stepped_down_higher_term, "no longer leader: n{p} is at term {a}")                             \
  X(stepped_down_no_quorum, "no longer leader of term {a}: no quorum answered in time")            \
  X(stepped_down_slow_disk, "no longer leader of term {a}: its disk has not synced in time")       \
  X(stepped_down_full_disk, "no longer leader of term {a}: its disk is full")                      \
  X(transfer_begun, "is to hand over to n{p}: takes no writes, brings it up to {a}")               \
  X(transfer_refused, "is to hand over to n{p} and cannot: it is no whole follower, or itself")    \
  X(transfer_sent, "n{p} holds all of the log: asks it to campaign at once")                       \
  X(transfer_given_up, "n{p} has not taken over in time: leads on")                                \
  X(transfer_received, "asked by n{p} to campaign at once")                                        \
  X(transfer_ignored, "asked by n{p} in term {a} to campaign: cannot, or its term is not {b}")     \
  X(entries_not_taken, "takes no entries from n{p}, holds up to {a}: its disk is full")            \
  X(follower_full, "n{p} takes no entries: its disk is full; asks again from {a}")                 \
  X(entries_appended, "appended up to {b} from n{p} (first new one {a})")                          \
  X(entries_already_held, "nothing new from n{p}: holds everything up to {a}")                     \
  X(append_refused_stale_term, "append of n{p} refused: its term is {a}, mine {b}")                \
  X(append_refused_log_short, "append of n{p} refused: needs {a}, log ends at {b}")                \
  X(append_refused_term_differs, "append of n{p} refused: entry {a} has another term here")        \
  X(log_truncated, "entries from {a} on conflict with the leader's: dropped {b}")                  \
  X(append_reply_ignored_stale,                                                                    \
    "answer of n{p} in term {a} not counted: leads no longer in it, term {b}")                     \
  X(refusal_ignored_stale, "refusal of n{p} ignored: it speaks of {a}, matched is {b}")            \
  X(probing, "n{p} lacks an entry: tries again from {a}")                                          \
  X(pipelining, "n{p} matches up to {a}: streams entries")                                         \
  X(pipeline_full, "n{p} has {a} appends unanswered: waits")                                       \
  X(snapshot_needed, "n{p} needs entries that are compacted: gets the snapshot up to {a}")         \
  X(snapshot_piece_sent, "sends piece {a} of {b} of the snapshot to n{p}")                         \
  X(snapshot_piece_received, "piece {a} of {b} of a snapshot from n{p}")                           \
  X(snapshot_piece_not_wanted, "snapshot of n{p} up to {a} not needed: committed up to {b}")       \
  X(snapshot_resumed, "goes on with a snapshot begun earlier: has {a} of {b} pieces")              \
  X(snapshot_abandoned, "gives up a snapshot up to {a}: {b} is committed by now")                  \
  X(snapshot_installed, "snapshot up to {a} installed: its log began at {b}")                      \
  X(snapshot_begun, "begins a snapshot up to {a}")                                                 \
  X(snapshot_failed, "gives up a snapshot: its disk does not take it")                             \
  X(snapshot_saved, "snapshot up to {a} saved, log kept from {b}")                                 \
  X(committed, "committed up to {a}")                                                              \
  X(commit_waits_for_own_term, "a quorum holds {a}, of older term {b}: waits for an own entry")    \
  X(read_confirmed, "still leader, a quorum says: {a} reads may go on at {b}")                     \
  X(read_failed, "no longer leader: {a} reads fail")                                               \
  X(recovered, "starts from disk: term {a}, log ends at {b}")                                      \
  X(recovered_torn_tail, "a torn tail of {a} bytes was cut from the log")                          \
  X(repair_begun, "starts damaged: neither votes nor acknowledges before it is whole")             \
  X(repair_waits, "damaged, and hears no leader: waits for one with an intact quorum")             \
  X(repair_index_known, "is whole once it holds {a}, says n{p}")                                   \
  X(repair_complete, "holds {a} durably: whole again")                                             \
  X(vote_refused_damaged, "vote for n{p} refused: damaged, not whole again yet")                   \
  X(follower_damaged, "n{p} is damaged: counts for nothing until it is whole; asks a quorum")      \
  X(follower_repair_index, "n{p} is to hold {a}, which a quorum has confirmed")                    \
  X(follower_whole, "n{p} is whole again: counts")                                                 \
  X(reply_before_damage, "answer of n{p} not counted: from before its damage")                     \
  X(snapshot_unreadable, "the snapshot up to {a} cannot be read: takes another one")               \
  X(increments_share_entry, "{a} increments share an entry")                                       \
  X(request_forwarded, "passes a request on to n{p}")                                              \
  X(request_refused_no_leader, "request refused: knows no leader")                                 \
  X(request_refused_redirect, "request refused: n{p} leads")                                       \
  X(request_refused_busy, "request refused: {a} wait already")                                     \
  X(request_refused_disk_full, "request refused: the disk is full")                                \
  X(request_refused_followers_full,                                                                \
    "request refused: the disks of so many others are full that no quorum takes it")               \
  X(request_refused_transfer, "request refused: is handing over to n{p}")                          \
  X(disk_full, "disk full: takes no entries")                                                      \
  X(disk_has_room, "the disk has room again")                                                      \
  X(request_timed_out, "a request waited too long: its outcome is unknown")                        \
  X(request_lost_leadership, "{a} waiting requests: leadership lost, outcome unknown")             \
  X(retry_answered_from_session, "retry answered from its session, not executed again")            \
  X(session_unknown, "request refused: its session is unknown or expired")                         \
  X(session_table_full, "session refused: the table is full")                                      \
  X(stale_sequence_refused, "request refused: its sequence is below the session's first open one") \
  X(rejected_bounds, "increment refused: outside its bounds")                                      \
  X(rejected_overflow, "increment refused: 64 bits overflow")                                      \
  X(forwards_given_up, "{a} requests passed on to n{p} are given up: n{b} leads now")              \
  X(forward_answer_late, "answer to a forwarded request came after it was given up")

namespace tally {

enum class NoteKind : uint8_t {
#define TALLY_NOTE_ENUM(name, text) name,
  TALLY_NOTES(TALLY_NOTE_ENUM)
#undef TALLY_NOTE_ENUM
};

inline constexpr std::string_view kNoteNames[] = {
#define TALLY_NOTE_NAME(name, text) #name,
    TALLY_NOTES(TALLY_NOTE_NAME)
#undef TALLY_NOTE_NAME
};
inline constexpr size_t kNoteCount = sizeof(kNoteNames) / sizeof(kNoteNames[0]);

struct Note {
  NoteKind kind;
  NodeId peer;
  uint64_t a = 0;
  uint64_t b = 0;
};

// The note's sentence with its numbers, for people.
std::string note_text(const Note& note);

}  // namespace tally
