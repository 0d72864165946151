# Counts through Redis.pm: redis_perl.pl COUNTER SECONDS PORT... ; see redis_clients_test.py.
use strict;
use warnings;
use Redis;
use Time::HiRes qw(time);

my ($counter, $seconds, @ports) = @ARGV;
my %said = (ok => 0, unknown => 0, failed => 0, reconnects => 0);
my $turn = 0;

sub connect_any {
    while (1) {
        my $port = $ports[$turn++ % @ports];
        my $client = eval { Redis->new(server => "127.0.0.1:$port", reconnect => 0) };
        return $client if $client && eval { $client->ping };
        select(undef, undef, undef, 0.05);
    }
}

sub note {
    my ($error) = @_;
    if    (!defined $error)          { $said{ok}++ }
    elsif ($error =~ /UNKNOWN/)      { $said{unknown}++ }
    elsif ($error =~ /NOT_APPLIED/)  { $said{failed}++ }
    else                             { die $error }
}

my $client = connect_any();
my $until = time() + $seconds;
for (my $i = 0; time() < $until; $i++) {
    my $batch = $i % 3 == 0 ? 8 : 1;
    my $answered = 0;
    my $fine = eval {
        $client->incr($counter, sub { $answered++; note($_[1]) }) for 1 .. $batch;
        $client->wait_all_responses;
        1;
    };
    if (!$fine || $answered < $batch) {
        $said{unknown} += $batch - $answered;
        $said{reconnects}++;
        $client = connect_any();
    }
}
print "{", join(", ", map { "\"$_\": $said{$_}" } sort keys %said), "}\n";
