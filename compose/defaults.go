package compose

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
)

// What is filled in where a file says nothing.
const (
	defaultStopGrace      = holdfast.Duration(10 * time.Second)
	defaultPIDs           = 4096
	defaultLogBytes       = 10 << 20
	defaultLogFiles       = 3
	defaultRestartDelay   = holdfast.Duration(100 * time.Millisecond)
	defaultRestartMax     = holdfast.Duration(30 * time.Second)
	defaultRestartWindow  = holdfast.Duration(10 * time.Second)
	defaultOneShotRetries = 3
	defaultMonitor        = holdfast.Duration(5 * time.Second)
	defaultDeadline       = holdfast.Duration(60 * time.Second)
	defaultParallelism    = 1

	defaultInterval      = holdfast.Duration(10 * time.Second)
	defaultTimeout       = holdfast.Duration(30 * time.Second)
	defaultRetries       = 3
	defaultStartPeriod   = holdfast.Duration(60 * time.Second)
	defaultStartInterval = holdfast.Duration(time.Second)

	defaultReadyInterval    = holdfast.Duration(2 * time.Second)
	defaultProbeTimeout     = holdfast.Duration(5 * time.Second)
	defaultNetStartInterval = holdfast.Duration(100 * time.Millisecond)
	defaultFileMode         = 0o444
	defaultRatePer          = holdfast.Duration(time.Second)
	defaultCompressMin      = 1 << 10
	maxReplicas             = 10000
	maxSecretBytes          = 500 << 10
	maxConfigBytes          = 1 << 20
	hostGateway             = "169.254.1.1" // the node, as every container sees it
	defaultNetwork          = "default"
	localRepository         = "holdfast.local/"
	secretDir, configDir    = "/run/secrets/", "/"
)

// defaultCompressTypes are media types whose content is worth compressing.
var defaultCompressTypes = []string{
	"text/*", "application/json", "application/javascript", "application/xml", "application/wasm", "application/manifest+json",
	"application/ld+json", "application/problem+json", "application/rss+xml", "application/atom+xml", "application/xhtml+xml",
	"image/svg+xml", "font/ttf", "font/otf",
}

// Default is one row of the table of defaults.
type Default struct {
	Key   string // of the Compose file
	Value string
	Why   string // where it differs from what Docker does, or needs a word
}

// Defaults are all values that Load fills in, in the order of the documentation.
var Defaults = []Default{
	{"x-holdfast.kind", "inferred", "the reason is shown by `holdfast config`"},
	{"deploy.mode", "replicated", ""},
	{"deploy.replicas, scale", "1", ""},
	{"deploy.endpoint_mode", "vip", ""},
	{"restart, deploy.restart_policy.condition", "any", "Holdfast keeps servers running; Docker's default is no"},
	{"the same of a job, and when others wait for service_completed_successfully", fmt.Sprintf("on-failure, %d attempts", defaultOneShotRetries), "it is a one-shot, meant to end"},
	{"deploy.restart_policy.delay", fmt.Sprintf("%s, doubled up to %s while replicas keep failing", defaultRestartDelay, defaultRestartMax),
		"counts from the second failure in a row: the first replacement of a healthy service is immediate"},
	{"deploy.restart_policy.max_attempts", "unlimited", ""},
	{"deploy.restart_policy.window", short(defaultRestartWindow), "a replica that stays up this long resets the delay"},
	{"deploy.update_config.order", "start-first for stateless, stop-first for stateful with data, a fixed address or the node's network",
		"Docker's default is stop-first"},
	{"deploy.update_config.parallelism", fmt.Sprint(defaultParallelism), ""},
	{"deploy.update_config.delay", "0s", ""},
	{"deploy.update_config.monitor", short(defaultMonitor), ""},
	{"deploy.update_config.failure_action", "rollback", "Docker's default is pause"},
	{"deploy.update_config.max_failure_ratio", "0", ""},
	{"time for a new replica to become ready", short(defaultDeadline) + ", or start_period + retries × interval where that is longer", "no key of Compose's"},
	{"deploy.rollback_config", "as update_config, all replicas at once, failure_action pause", ""},
	{"stop_signal", "the image's, else SIGTERM", ""},
	{"stop_grace_period", short(defaultStopGrace), ""},
	{"pids_limit", fmt.Sprint(defaultPIDs), "Docker has no limit"},
	{"logging", fmt.Sprintf("%d MiB × %d files for each replica", defaultLogBytes>>20, defaultLogFiles), "Docker keeps everything"},
	{"shm_size", "64 MiB", ""},
	{"healthcheck.interval", short(defaultInterval), "Docker's default is 30s"},
	{"healthcheck.timeout", short(defaultTimeout), ""},
	{"healthcheck.retries", fmt.Sprint(defaultRetries), ""},
	{"healthcheck.start_period", short(defaultStartPeriod), "Docker's default is 0s, but it first looks after 30s"},
	{"healthcheck.start_interval", short(defaultStartInterval), "Docker's default is 5s"},
	{"x-holdfast.health.readiness.interval", short(defaultReadyInterval), ""},
	{"x-holdfast.health.liveness.interval", short(defaultInterval), ""},
	{"x-holdfast.health.*.timeout", short(defaultProbeTimeout) + "; exec " + short(defaultTimeout), ""},
	{"x-holdfast.health.*.retries", fmt.Sprint(defaultRetries), ""},
	{"x-holdfast.health.*.start_period", short(defaultStartPeriod), ""},
	{"x-holdfast.health.*.start_interval", short(defaultNetStartInterval) + "; exec " + short(defaultStartInterval), ""},
	{"secrets[].target, configs[].target", "/run/secrets/<source>, /<source>", ""},
	{"x-holdfast.route[].redirect.code", "308", ""},
	{"x-holdfast.route[].rate_limit.per, by", short(defaultRatePer) + ", client", ""},
	{"x-holdfast.route[].rate_limit.burst", "requests", ""},
	{"x-holdfast.route[].compress.encodings, min", "zstd, br, gzip; 1k", ""},
	{"secrets[].mode, configs[].mode", fmt.Sprintf("0%o", defaultFileMode), ""},
	{"pull_policy", "missing; never for an image with a source", ""},
	{"jobs.*.triggers.schedule[].concurrency", "forbid", ""},
	{"jobs.*.triggers.schedule[].missed_fires", "skip", ""},
}

// short renders a duration without its zeros: 1m and not 1m0s.
func short(d holdfast.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	return s
}
