#include "sim/sim_network.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/draw.h"
#include "sim/narrator.h"

namespace tally::sim {
namespace {

constexpr int64_t kMillion = 1'000'000;

// About what the message takes on the wire.
int64_t wire_bytes(const Envelope& envelope) {
  int64_t bytes = 100;
  if (const auto* append = std::get_if<AppendRequest>(&envelope.message)) {
    for (const Entry& entry : append->entries) {
      bytes += 40 + static_cast<int64_t>(entry.data.size());
    }
  }
  return bytes;
}

NetworkAspect aspect_of(NoiseEvent::Effect effect) {
  switch (effect) {
    case NoiseEvent::LOSE: return NetworkAspect::kLoss;
    case NoiseEvent::DELAY: return NetworkAspect::kTail;
    case NoiseEvent::DUPLICATE: return NetworkAspect::kDuplicate;
    case NoiseEvent::REPLAY: return NetworkAspect::kReplay;
    case NoiseEvent::CORRUPT: return NetworkAspect::kCorrupt;
  }
  CHECK(false, "no such effect");
}

MessageType type_of(const Message& message) {
  struct Visitor {
    MessageType operator()(const VoteRequest& request) const {
      return request.pre_vote ? PRE_VOTE_REQUEST : VOTE_REQUEST;
    }
    MessageType operator()(const VoteReply& reply) const {
      return reply.pre_vote ? PRE_VOTE_REPLY : VOTE_REPLY;
    }
    MessageType operator()(const AppendRequest& append) const {
      return append.entries.empty() ? HEARTBEAT : APPEND;
    }
    MessageType operator()(const AppendReply&) const { return APPEND_REPLY; }
    MessageType operator()(const ClientRequest&) const { return FORWARDED_REQUEST; }
    MessageType operator()(const ValueResponse&) const { return FORWARDED_ANSWER; }
    MessageType operator()(const SnapshotRequest&) const { return SNAPSHOT_PIECE; }
    MessageType operator()(const SnapshotReply&) const { return SNAPSHOT_REPLY; }
    MessageType operator()(const TimeoutNow&) const { return TIMEOUT_NOW; }
  };
  return std::visit(Visitor(), message);
}

}  // namespace

SimNetwork::SimNetwork(uint64_t seed, const Params::Network& params, int64_t steady_ms,
                       uint32_t node_count, uint32_t client_count, GroupId group, EventQueue& queue)
    : seed_(seed),
      steady_ms_(steady_ms),
      params_(params),
      node_count_(node_count),
      side_(node_count + client_count),
      group_(group),
      queue_(queue),
      links_(size_t{side_} * side_) {}

uint64_t SimNetwork::bits(uint32_t link_number, uint64_t ordinal, NetworkAspect aspect) const {
  return draw(seed_, static_cast<uint64_t>(Stream::kNetwork), link_number, ordinal,
              static_cast<uint64_t>(aspect));
}

bool SimNetwork::happens(uint32_t link_number, uint64_t ordinal, NetworkAspect aspect,
                         int64_t ppm) {
  const bool drawn =
      ppm > 0 && scale(bits(link_number, ordinal, aspect), kMillion) < static_cast<uint64_t>(ppm);
  if (!drawn && !is_forced(aspect)) return false;
  if (aspect != NetworkAspect::kCodec) {
    sending_.effect = aspect;
    noise_.push_back(sending_);
  }
  return true;
}

bool SimNetwork::is_forced(NetworkAspect aspect) const {
  // What is to be corrupted must travel as bytes.
  if (aspect == NetworkAspect::kCodec) aspect = NetworkAspect::kCorrupt;
  return (forced_mask_ >> static_cast<int>(aspect) & 1) != 0;
}

void SimNetwork::force(const std::vector<NoiseEvent>& noise) {
  for (const NoiseEvent& event : noise) {
    Forced forced{
        event.at_us(), {}, static_cast<uint64_t>(event.ordinal()), aspect_of(event.effect())};
    if (event.has_message()) forced.type = event.message();
    const auto client = static_cast<uint32_t>(node_count_ + event.client());
    const uint32_t from = event.has_from() ? static_cast<uint32_t>(event.from() - 1) : client;
    const uint32_t to = event.has_to() ? static_cast<uint32_t>(event.to() - 1) : client;
    link(from, to).forced.push_back(forced);
  }
  for (Link& way : links_) {
    std::stable_sort(way.forced.begin(), way.forced.end(),
                     [](const Forced& a, const Forced& b) { return a.at_us < b.at_us; });
  }
}

// Names the message as noise does, and finds what is to happen to it for certain.
void SimNetwork::begin_send(uint32_t link_number, const Message& message) {
  Link& way = links_[link_number];
  const int64_t now_us = queue_.now().time_since_epoch().count() / 1000;
  const MessageType type = type_of(message);
  if (way.sent_at_us != now_us) way.sent_types.clear();
  way.sent_at_us = now_us;
  way.sent_types.push_back(type);
  const auto ordinal = std::count(way.sent_types.begin(), way.sent_types.end(), type);
  sending_ = {link_number, now_us, type, static_cast<uint64_t>(ordinal), {}};
  forced_mask_ = 0;
  for (size_t i = 0; i < way.forced.size() && way.forced[i].at_us <= now_us;) {
    Forced& forced = way.forced[i];
    const bool strikes = forced.type.value_or(type) == type && --forced.left == 0;
    if (!strikes) {
      ++i;
      continue;
    }
    if (!healed_) forced_mask_ |= uint32_t{1} << static_cast<int>(forced.effect);
    way.forced.erase(way.forced.begin() + static_cast<ptrdiff_t>(i));
  }
}

NoiseEvent SimNetwork::noise_event(const Noise& noise) const {
  NoiseEvent event;
  const uint32_t from = noise.link / side_;
  const uint32_t to = noise.link % side_;
  if (from < node_count_) event.set_from(from + 1);
  if (to < node_count_) event.set_to(to + 1);
  if (from >= node_count_) event.set_client(from - node_count_);
  if (to >= node_count_) event.set_client(to - node_count_);
  event.set_ordinal(static_cast<int64_t>(noise.ordinal));
  event.set_message(noise.type);
  event.set_at_us(noise.at_us);
  for (int effect = NoiseEvent::Effect_MIN; effect <= NoiseEvent::Effect_MAX; ++effect) {
    const auto candidate = static_cast<NoiseEvent::Effect>(effect);
    if (aspect_of(candidate) == noise.effect) event.set_effect(candidate);
  }
  return event;
}

Duration SimNetwork::latency(uint32_t link_number, uint64_t ordinal, NetworkAspect aspect) {
  const int64_t low = params_.latency_us_min() * 1000;
  const int64_t span = params_.latency_us_max() * 1000 - low;
  const uint64_t key = draw_key(steady_ms_, queue_.now(), ordinal);
  const int64_t normal = low + static_cast<int64_t>(scale(bits(link_number, key, aspect),
                                                          static_cast<uint64_t>(span) + 1));
  if (aspect != NetworkAspect::kLatency ||
      !happens(link_number, ordinal, NetworkAspect::kTail, params_.heavy_tail_ppm())) {
    return Duration(normal);
  }
  return Duration(normal * static_cast<int64_t>(2 + bits(link_number, key, aspect) % 19));
}

void SimNetwork::send(Envelope&& envelope) {
  const uint32_t from = slot_of(envelope.from);
  const uint32_t to = slot_of(envelope.to);
  CHECK(from < side_ && to < side_);
  const uint32_t number = from * side_ + to;
  Link& way = links_[number];
  const uint64_t ordinal = ++way.sent_count;
  const bool between_nodes = from < node_count_ && to < node_count_;
  begin_send(number, envelope.message);
  if (narrator_ != nullptr) narrator_->sent(queue_.now(), envelope);
  if (way.cuts > 0) return tell_loss(envelope, /*by_chance=*/false);
  if (!between_nodes) {
    deliver(std::move(envelope), number, latency(number, ordinal, NetworkAspect::kLatency),
            /*in_order=*/true);
    return;
  }
  const std::optional<Strike> strike = find_strike(from, to, envelope.message);
  if (strike && strike->effect == NoiseEvent::LOSE) return;
  if (happens(number, ordinal, NetworkAspect::kLoss, params_.loss_ppm()) ||
      !pass_codec(envelope, number, ordinal)) {
    return tell_loss(envelope, /*by_chance=*/true);
  }
  Duration after = latency(number, ordinal, NetworkAspect::kLatency) + way.slow_by;
  if (!queue_for_bandwidth(way, envelope, after)) return tell_loss(envelope, /*by_chance=*/true);
  if (happens(number, ordinal, NetworkAspect::kDuplicate, params_.duplicate_ppm())) {
    Envelope copy = envelope;
    deliver(std::move(copy), number,
            latency(number, ordinal, NetworkAspect::kDuplicateLatency) + way.slow_by,
            /*in_order=*/false);
  }
  if (happens(number, ordinal, NetworkAspect::kReplay, params_.replay_ppm())) {
    Envelope copy = envelope;
    const auto span = static_cast<uint64_t>(params_.replay_ms_max() * kMillion);
    const uint64_t key = draw_key(steady_ms_, queue_.now(), ordinal);
    const uint64_t late = scale(bits(number, key, NetworkAspect::kReplayDelay), span);
    deliver(std::move(copy), number, after + Duration(static_cast<int64_t>(late)),
            /*in_order=*/false);
  }
  if (strike && strike->effect == NoiseEvent::DELAY) after += strike->by;
  if (strike && strike->effect == NoiseEvent::DUPLICATE) {
    Envelope copy = envelope;
    deliver(std::move(copy), number, after + strike->by, /*in_order=*/false);
  }
  deliver(std::move(envelope), number, after, params_.fifo());
}

// The strike that gets this message, if any: one fewer is left of it.
std::optional<SimNetwork::Strike> SimNetwork::find_strike(uint32_t from, uint32_t to,
                                                          const Message& message) {
  if (strikes_.empty()) return std::nullopt;
  const MessageType type = type_of(message);
  for (Strike& strike : strikes_) {
    const bool wanted =
        strike.left > 0 && strike.links[from * node_count_ + to] && (strike.types >> type & 1) != 0;
    if (!wanted) continue;
    --strike.left;
    struck_.push_back({strike.id, from, to, MessageType_Name(type)});
    return strike;
  }
  return std::nullopt;
}

void SimNetwork::end_strike(uint64_t id) {
  std::erase_if(strikes_, [&](const Strike& strike) { return strike.id == id; });
}

// A link sends one message after the other; what would have to wait behind too much is dropped.
bool SimNetwork::queue_for_bandwidth(Link& way, const Envelope& envelope, Duration& after) {
  const int64_t rate = params_.bandwidth_bytes_per_ms();
  if (rate == 0) return true;
  const VirtualTime now = queue_.now();
  const VirtualTime begin = std::max(now, way.busy_until);
  if ((begin - now).count() * rate > params_.queue_bytes() * kMillion) return false;
  way.busy_until = begin + Duration(wire_bytes(envelope) * kMillion / rate);
  after += way.busy_until - now;
  return true;
}

void SimNetwork::deliver(Envelope&& envelope, uint32_t link_number, Duration after, bool in_order) {
  Link& way = links_[link_number];
  const uint32_t to = link_number % side_;
  VirtualTime at = queue_.now() + after;
  if (in_order) {
    at = std::max(at, way.last_delivery);
    way.last_delivery = at;
  }
  uint32_t slot;
  if (free_slots_.empty()) {
    slot = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  slots_[slot].envelope = std::move(envelope);
  slots_[slot].epoch = way.epoch;
  slots_[slot].sent_at = queue_.now();
  if (to < node_count_) {
    queue_.push(at, EventKind::kDeliver, to, slot);
  } else {
    queue_.push(at, EventKind::kClientReceive, to - node_count_, slot);
  }
}

bool SimNetwork::receive(uint64_t slot, Envelope& out) {
  out = std::move(slots_[slot].envelope);
  free_slots_.push_back(static_cast<uint32_t>(slot));
  const Link& way = link(slot_of(out.from), slot_of(out.to));
  return way.cuts == 0 && way.epoch == slots_[slot].epoch;
}

Duration SimNetwork::late_by(uint64_t slot) const {
  const Duration under_way = queue_.now() - slots_[slot].sent_at;
  return under_way > 2 * plain_latency() ? under_way : Duration(0);
}

void SimNetwork::tell_loss(const Envelope& envelope, bool by_chance) {
  if (narrator_ != nullptr) narrator_->lost(queue_.now(), envelope, by_chance);
}

void SimNetwork::drop(uint64_t slot) {
  slots_[slot].envelope = Envelope();
  free_slots_.push_back(static_cast<uint32_t>(slot));
}

// True when the message goes on; false when it was corrupted and, as it must be, refused.
bool SimNetwork::pass_codec(Envelope& envelope, uint32_t link_number, uint64_t ordinal) {
  if (!happens(link_number, ordinal, NetworkAspect::kCodec, params_.codec_ppm())) return true;
  frame_.clear();
  encode_frame(envelope, group_, frame_);
  const bool corrupt =
      happens(link_number, ordinal, NetworkAspect::kCorrupt, params_.corrupt_ppm());
  if (corrupt) {
    const uint64_t where = bits(link_number, ordinal, NetworkAspect::kCorruptWhere);
    char& byte = frame_[scale(where, frame_.size())];
    byte = static_cast<char>(byte ^ static_cast<char>(1 + where % 255));
  }
  Envelope decoded;
  size_t consumed = 0;
  std::string error;
  const FrameStatus status = decode_frame(frame_, group_, decoded, consumed, error);
  if (corrupt) {
    ++corrupted_count_;
    if (status == FrameStatus::kOk) codec_error_ = "a frame with one byte changed was accepted";
    return false;
  }
  if (status != FrameStatus::kOk || consumed != frame_.size()) {
    codec_error_ = fmt::format("a frame just encoded does not decode: {}", error);
    return false;
  }
  std::string again;
  encode_frame(decoded, group_, again);
  if (again != frame_) codec_error_ = "a message changed on its way through the codec";
  envelope = std::move(decoded);
  return true;
}

void SimNetwork::cut(uint32_t from, uint32_t to, int change) {
  if (!healed_) link(from, to).cuts += change;
}

void SimNetwork::cut_clients(uint32_t node, int change) {
  for (uint32_t client = node_count_; client < side_; ++client) {
    cut(client, node, change);
    cut(node, client, change);
  }
}

void SimNetwork::slow(uint32_t from, uint32_t to, Duration change) {
  if (!healed_) link(from, to).slow_by += change;
}

void SimNetwork::reset(uint32_t from, uint32_t to) { ++link(from, to).epoch; }

void SimNetwork::heal() {
  healed_ = true;
  strikes_.clear();
  params_.set_heavy_tail_ppm(0);
  params_.set_loss_ppm(0);
  params_.set_duplicate_ppm(0);
  params_.set_replay_ppm(0);
  params_.set_corrupt_ppm(0);
  params_.set_bandwidth_bytes_per_ms(0);
  for (Link& way : links_) {
    way.cuts = 0;
    way.slow_by = Duration(0);
    way.last_delivery = queue_.now();
    ++way.epoch;
  }
}

}  // namespace tally::sim
