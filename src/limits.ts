/**
 * Every fixed number among the rules of delivery, in one place: how often, how long, how many. What an operator may choose is in the
 * configuration (`tuning`). infra/delivery.md shows this file as a table: each constant is a row, its comment the reason, its name the unit.
 */

// # Trying again

/** The longest back-off after a failure; it starts with half a second to 2.5 s and doubles, with full jitter, without end */
export const MAX_BACKOFF_SECONDS = 300;
/** A record that the API server refuses by RBAC becomes a dead letter so long after its first refusal: a day, in which somebody sees the alarm. An outage in between begins it anew */
export const FORBIDDEN_BURIED_AFTER_MS = 24 * 3600 * 1000;
/** A record that is refused so waits as long again as it has been refused already, and so long the first time: an API server that has just started refuses everybody until it has read its roles. Later {@link MAX_DELAY_SECONDS} at most */
export const FORBIDDEN_FIRST_SECONDS = 5;
/** A record of a newer relay comes again so often, until the worker is updated */
export const TOO_NEW_SECONDS = 300;
/** How often one run reads and decides again when the override changed under it; then the record waits */
export const CONFLICT_TRIES = 3;
/** A queue delays no record for longer, so longer waits go in hops of this: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-timers.html */
export const MAX_DELAY_SECONDS = 900;
/** A record that is received so often without being settled is buried, for something crashes on it. Below what any template sets as the queue's `maxReceiveCount`, so that it ends with our reason and not without one. AWS Lambda receives what it then does not hand over: there, from this receive on, runs that began are counted in place of receives */
export const MAX_RECEIVES = 8;

// # While an API server does not answer

/** The first probe of the circuit; each later one waits twice as long */
export const FIRST_PROBE_MS = 500;
/** The longest wait between two probes: how late the end of an outage is seen at most */
export const LAST_PROBE_MS = 30_000;
/** A server, or a proxy before it, that asks for a longer wait (`Retry-After`) is probed after this nevertheless */
export const PROBED_DESPITE_RETRY_AFTER_MS = 900_000;
/** A record waits no longer for a `Retry-After` either: what a proxy asks for may be weeks */
export const LONGEST_RETRY_AFTER_SECONDS = 3600;
/** A cluster that no sweep looks at is looked at so often without a push, so that an outage or a token about to end is told before one waits for it */
export const LOOK_EVERY_MS = 900_000;

/** In the last part of its life a cluster's token that nobody renewed is told (`TOKEN_ENDS`): six hours of a day, in which somebody sees the alarm */
export const TOKEN_ENDS_PART = 0.25;
/** It is told again so often */
export const TOKEN_TOLD_MS = 3_600_000;

// # What lasts

/** Trouble that lasts is told again so often: the alert on an alarm looks back twenty minutes, and must not end before the trouble does */
export const TOLD_AGAIN_MS = 900_000;
/** Whether each webhook's secret can still be read is looked at so often: not only with the next push, which it would refuse */
export const SECRETS_EVERY_MS = 300_000;

// # Nudging

/** The same push again, so long after its nudge and with its digest still not there: somebody pressed "redeliver", and it is nudged again */
export const REDELIVERED_MS = 60_000;
/** So many cool-downs the next push's nudge waits for the digest of the one before: a minute, as `tuning.cooldown` comes. A patch in the middle of a deploy can restart Deckhouse twice */
export const HOLD_COOLDOWNS = 12;
/** The same where the status already holds the next push's digest: ten minutes. A patch in the middle of a deploy can leave the other push's files there */
export const HOLD_SAME_DIGEST_COOLDOWNS = 120;
/** Clocks of edges, workers, registries and Deckhouse differ by less; what lies closer together proves no order */
export const CLOCKS_DIFFER_MS = 2_000;
/** An override whose newest nudge has not arrived is not adopted before this long after it: as `HOLD_COOLDOWNS`, a patch in the middle of a deploy can restart Deckhouse twice */
export const ADOPT_QUIET_MS = 60_000;
/** Keys of earlier pushes that an override remembers, to know those again that its newest nudge covered */
export const RECENT_KEYS = 8;

/** A push waits so long for its tag where the registry tells of it before it writes that (Distribution, Nexus). Measured, 200 pushes to a disk: of 3.1.2's deliveries 89 % came before their tag, by up to 0.35 s on a busy machine; an object store takes longer. What is later still is nudged again (`UNSEEN_LOOK`) */
export const TAG_FOLLOWS_SECONDS = 1;

// # Looking whether it took effect

/** A download error is answered with a repeated nudge after these, since Deckhouse itself tries again only after the scan interval */
export const RENUDGE_SECONDS = [60, 300, 300] as const;
/** A push that an override does not show after this one of `tuning.looks`, counted from 0, is nudged once more: its tag may have been written after its webhook was sent. By then (90 s) a deploy that the nudge began is most likely over */
export const UNSEEN_LOOK = 2;
/** After the pick-up the Module is first looked at after this one of `tuning.looks`, counted from 0: before, Deckhouse is about to restart and says what it said before */
export const WATCH_FIRST_LOOK = 2;
/** From this look on a Module's error is believed: what fails at first may come up yet */
export const WATCH_BELIEVED_LOOK = 3;
/** The last look at the Module */
export const WATCH_LAST_LOOK = 4;

// # Release channels

/** A push to a release channel waits so long before its source is scanned, as pipelines push several channels in a row: one scan sees them all */
export const RESCAN_GATHER_SECONDS = 5;
/** A source is made to scan at most so often, in one cluster, by whichever worker. A scan asks the registry for every module */
export const RESCAN_EVERY_MS = 60_000;
/** The last of `tuning.looks` for the release that comes of it, counted from 0: by then Deckhouse has scanned by itself, too */
export const RELEASE_LAST_LOOK = 3;

// # Sweeping

/** What a sweep found behind is nudged so much later, for its delivery is most likely on its way. With the usual five minutes between sweeps a lost push so heals within six */
export const SWEEP_GRACE_MS = 45_000;
/** What the sweep nudged and Deckhouse took, with no delivery for so long after the sweep saw it, was told by no webhook */
export const SILENT_AFTER_MS = 120_000;
/** What the sweep sees so soon after somebody wrote which tag an override follows may have lain there before: Deckhouse is at it anyway, and no webhook is silent for it */
export const NEWLY_TAGGED_MS = 300_000;
/** An override that was nudged for what its tag names, and holds something else, is nudged for it again so long after. Deckhouse itself comes back after the scan interval */
export const SWEEP_AGAIN_MS = 6 * 3600 * 1000;
/** The same after a nudge for a push whose digest nobody knew: it may have been for this one */
export const SWEEP_UNSURE_MS = 900_000;
/** Registries and mirrors behind them may be so late with what a push brought: until then what they say against it does not count as behind */
export const MIRROR_LATE_MS = 600_000;
/** After a time in which nothing could be swept (a laptop asleep, an API server away) for so long, the next sweep does not wait for its turn */
export const SWEEP_GAP_MS = 600_000;
/** How often it is looked whether there was such a time */
export const SWEEP_TICK_MS = 15_000;
/** Overrides of one cluster whose tags are looked up side by side */
export const SWEEP_LANES = 16;
/** In one alarm so many overrides are named, and the rest is counted */
export const SILENT_NAMED = 10;

// # Taking records

/** Records that a worker takes at once, where the queue gives as many (SQS gives fewer). More at once means fewer looks at one override: in a burst they are most of the work */
export const BATCH = 1000;
/** How long they stay hidden from other workers; after a crash they show again then, at the latest */
export const VISIBILITY_SECONDS = 120;
/** Runs of a batch start only within this time, so that the last one ends well before the records show again */
export const START_WITHIN_MS = 60_000;
/** In AWS Lambda the same: no run starts with less time left, for the rest of it, an API call that hangs included, must end before Lambda ends us */
export const LAMBDA_RESERVE_MS = 20_000;
/** Overrides of one cluster that are worked on side by side */
export const LANES = 16;
/** So many times `tuning.patchesPerSecond` are the runs that begin in a second. Most of them only look: what fell due in an outage, thousands of looks maybe, must not storm the API server at its end */
export const RUNS_FOR_EACH_PATCH = 4;
/** One long poll */
export const POLL_SECONDS = 20;
/** The same of SQS, where nothing ends a long poll but its time: an aborted one may have taken records, which then stay hidden, so whoever is told to stop waits for it (Docker kills after 10 s). Costs 17,280 calls a day and idle queue, half of what AWS gives away each month: https://aws.amazon.com/sqs/pricing/ */
export const SQS_POLL_SECONDS = 5;
/** What such a poll may still bring after its time, when we are told to stop: then the service does not answer */
export const SQS_LAST_ANSWER_SECONDS = 2;
/** The pause after a queue did not answer; each later one is twice as long */
export const QUEUE_PAUSE_MS = 1_000;
/** One that does not answer for so long is an alarm; before, it is a line in the log: a hub that is updated is back by then */
export const QUEUE_TOLD_AFTER_MS = 60_000;
/** The longest such pause */
export const LONGEST_QUEUE_PAUSE_MS = 30_000;

// # Taking deliveries in

/** One attempt to store a delivery in a queue. There are two of them, then the sender gets 503: the shortest patience of a sender is a second */
export const STORE_MS = 300;
/** Deliveries that are taken at once from a webhook's own queue */
export const INBOX_BATCH = 10;
/** How long they stay hidden: they are worked on for a second or two, so one that a crash left behind is soon there again */
export const INBOX_VISIBILITY_SECONDS = 30;
/** One that fails by itself so often is kept among the unparsed. A store that is away fails every delivery, and none of them is to blame: that counts nothing */
export const INBOX_MAX_RECEIVES = 8;
/** The longest that one which failed stays hidden; it starts with a second or two and doubles */
export const INBOX_MAX_BACKOFF_SECONDS = 900;
