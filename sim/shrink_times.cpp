#include "sim/shrink_times.h"

#include <algorithm>
#include <set>

namespace tally::sim {

std::vector<int64_t> time_points(const RunSpec& spec) {
  std::set<int64_t> points;
  for (const Fault& fault : spec.plan) {
    if (!fault.trigger().has_at_ms()) continue;
    points.insert(fault.trigger().at_ms());
    const int64_t end_ms = fault.trigger().at_ms() + fault.duration_ms();
    if (fault.has_duration_ms() && end_ms < spec.params.duration_ms()) points.insert(end_ms);
  }
  for (const ClientOperation& operation : spec.operations) {
    points.insert(operation.at_us() / 1000);
  }
  for (const NoiseEvent& noise : spec.noise) points.insert(noise.at_us() / 1000);
  return {points.begin(), points.end()};
}

void move_up(RunSpec& spec, int64_t from_ms, int64_t by_ms) {
  for (Fault& fault : spec.plan) {
    Trigger& trigger = *fault.mutable_trigger();
    if (!trigger.has_at_ms()) continue;
    const int64_t at_ms = trigger.at_ms();
    if (at_ms >= from_ms) {
      trigger.set_at_ms(at_ms - by_ms);
    } else if (fault.has_duration_ms() && at_ms + fault.duration_ms() >= from_ms) {
      fault.set_duration_ms(fault.duration_ms() - by_ms);
    }
  }
  for (ClientOperation& operation : spec.operations) {
    if (operation.at_us() >= from_ms * 1000) operation.set_at_us(operation.at_us() - by_ms * 1000);
  }
  for (NoiseEvent& noise : spec.noise) {
    if (noise.at_us() >= from_ms * 1000) noise.set_at_us(noise.at_us() - by_ms * 1000);
  }
  spec.params.set_duration_ms(std::max<int64_t>(1, spec.params.duration_ms() - by_ms));
}

void scale_times(RunSpec& spec, int64_t numerator, int64_t denominator) {
  for (const TimeField& field : time_fields(spec)) {
    const int64_t scaled = field.get() * numerator / denominator;
    field.set(field.get() > 0 ? std::max<int64_t>(1, scaled) : scaled);
  }
}

std::vector<TimeField> time_fields(RunSpec& spec) {
  std::vector<TimeField> fields;
  Params* params = &spec.params;
  fields.push_back({[params] { return params->duration_ms(); },
                    [params](int64_t value) { params->set_duration_ms(value); }});
  for (Fault& fault : spec.plan) {
    Fault* one = &fault;
    if (fault.trigger().has_at_ms()) {
      fields.push_back({[one] { return one->trigger().at_ms(); },
                        [one](int64_t value) { one->mutable_trigger()->set_at_ms(value); }});
    }
    if (fault.trigger().has_after_ms()) {
      fields.push_back({[one] { return one->trigger().after_ms(); },
                        [one](int64_t value) { one->mutable_trigger()->set_after_ms(value); }});
    }
    if (fault.has_duration_ms()) {
      fields.push_back({[one] { return one->duration_ms(); },
                        [one](int64_t value) { one->set_duration_ms(value); }});
    }
    if (fault.has_by_ms()) {
      fields.push_back(
          {[one] { return one->by_ms(); }, [one](int64_t value) { one->set_by_ms(value); }});
    }
    if (fault.has_period_ms()) {
      fields.push_back({[one] { return one->period_ms(); },
                        [one](int64_t value) { one->set_period_ms(value); }});
    }
  }
  for (ClientOperation& operation : spec.operations) {
    ClientOperation* one = &operation;
    fields.push_back({[one] { return one->at_us(); },
                      [one](int64_t value) {
                        one->set_at_us(value);
                        one->clear_plus_ns();
                      },
                      1000});
  }
  for (NoiseEvent& noise : spec.noise) {
    NoiseEvent* one = &noise;
    fields.push_back(
        {[one] { return one->at_us(); }, [one](int64_t value) { one->set_at_us(value); }, 1000});
  }
  return fields;
}

std::vector<int64_t> rounder_values(int64_t value, int64_t unit) {
  std::vector<int64_t> values;
  if (value % (1000 * unit) == 0) return values;
  for (const int64_t step : {1000, 500, 100, 50, 10, 5, 1}) {
    const int64_t grain = step * unit;
    if (value % grain == 0) break;  // as round as it gets without losing more
    const int64_t below = value / grain * grain;
    const bool nearer_above = value - below > grain / 2;
    for (const int64_t rounded :
         {nearer_above ? below + grain : below, nearer_above ? below : below + grain}) {
      // Far from what it was is no rounding.
      const int64_t far = std::max(value, unit * 20);
      if (rounded > 0 && std::max(rounded, value) - std::min(rounded, value) <= far) {
        values.push_back(rounded);
      }
    }
  }
  return values;
}

}  // namespace tally::sim
