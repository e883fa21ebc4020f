package compose

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
)

// containerKey takes the part of a pattern that names a container off: "services.*.mem_limit" is "mem_limit".
func containerKey(pat string) (string, bool) {
	for _, prefix := range []string{"services.*.pre_start.[].", "services.*.", "jobs.*."} {
		if rest, ok := strings.CutPrefix(pat, prefix); ok {
			return rest, true
		}
	}
	return pat, false
}

// scalarProblem says what is wrong with a value that has the right type and may still not be read, or "". The schema
// leaves these to the decoder, which knows no lines.
func scalarProblem(pat, value string, isText bool, kinds []string) string {
	key, container := containerKey(pat)
	if !container {
		return ""
	}
	switch {
	case slices.Contains(durationKeys, key):
		return durationProblem(value)
	case slices.Contains(sizeKeys, key):
		return sizeProblem(value)
	case slices.Contains(numberKeys, key):
		if _, err := strconv.ParseFloat(value, 32); err != nil {
			return fmt.Sprintf("%q is not a number", value)
		}
	case slices.Contains(wholeKeys, key):
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			return fmt.Sprintf("%q is not a whole number", value)
		}
	case key == "ports.[]":
		return portsProblem(value)
	case key == "volumes.[]":
		return volumeProblem(value)
	case key == "ports.[].host_ip":
		if !addr(value).IsValid() {
			return fmt.Sprintf("host address %q is not an IP address", value)
		}
	case key == "umask":
		if _, err := strconv.ParseUint(value, 0, 32); err != nil {
			return fmt.Sprintf("%q is not a umask such as 022", value)
		}
	case (key == "secrets.[].mode" || key == "configs.[].mode") && isText:
		if _, err := strconv.ParseUint(value, 8, 32); err != nil {
			return fmt.Sprintf("%q is not an octal mode such as 0440", value)
		}
	case key == "extra_hosts.[]" || key == "build.extra_hosts.[]":
		if !strings.ContainsAny(value, "=:") {
			return fmt.Sprintf("%q is not host=address", value)
		}
	case isText && slices.Equal(kinds, []string{"boolean", "string"}) && !strings.HasPrefix(key, "build."):
		if !slices.Contains([]string{"true", "false", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(value)) {
			return fmt.Sprintf("%q is neither true nor false", value)
		}
	}
	return ""
}

var durationKeys = []string{
	"healthcheck.interval", "healthcheck.timeout", "healthcheck.start_period", "healthcheck.start_interval",
	"stop_grace_period", "deploy.restart_policy.delay", "deploy.restart_policy.window", "deploy.update_config.delay",
	"deploy.update_config.monitor", "deploy.rollback_config.delay", "deploy.rollback_config.monitor", "pull_refresh_after",
}

var sizeKeys = []string{
	"mem_limit", "mem_reservation", "memswap_limit", "shm_size", "build.shm_size", "volumes.[].tmpfs.size",
	"deploy.resources.limits.memory", "deploy.resources.reservations.memory", "blkio_config.device_read_bps.[].rate",
	"blkio_config.device_write_bps.[].rate",
}

var numberKeys = []string{
	"cpus", "deploy.resources.limits.cpus", "deploy.resources.reservations.cpus", "deploy.update_config.max_failure_ratio",
	"deploy.rollback_config.max_failure_ratio",
}

var wholeKeys = []string{
	"scale", "deploy.replicas", "deploy.update_config.parallelism", "deploy.rollback_config.parallelism",
	"deploy.restart_policy.max_attempts", "deploy.placement.max_replicas_per_node", "deploy.resources.limits.pids",
	"pids_limit", "cpu_shares", "cpu_quota", "cpu_period", "oom_score_adj", "healthcheck.retries", "ports.[].target",
	"ulimits.*", "ulimits.*.soft", "ulimits.*.hard", "blkio_config.weight", "blkio_config.weight_device.[].weight",
	"blkio_config.device_read_iops.[].rate", "blkio_config.device_write_iops.[].rate",
}

func durationProblem(text string) string {
	d, err := parseDuration(text)
	if err != nil {
		return fmt.Sprintf("%q is not a duration: write 500ms, 10s, 1m30s or 2h", text)
	}
	if d < 0 {
		return fmt.Sprintf("%q is negative: durations start at 0s", text)
	}
	return ""
}

func sizeProblem(text string) string {
	if text == "-1" {
		return ""
	}
	if _, err := units.RAMInBytes(text); err != nil {
		return fmt.Sprintf("%q is not a size: write 512k, 64m or 2g", text)
	}
	return ""
}

// maxPortRange bounds how many ports one item may stand for.
const maxPortRange = 1000

var portRange = regexp.MustCompile(`(\d+)-(\d+)`)

func portsProblem(text string) string {
	for _, m := range portRange.FindAllStringSubmatch(text, -1) {
		from, _ := strconv.Atoi(m[1])
		to, _ := strconv.Atoi(m[2])
		if to-from >= maxPortRange {
			return fmt.Sprintf("%s is a range of %d ports: at most %d in one item", m[0], to-from+1, maxPortRange)
		}
	}
	if _, err := types.ParsePortConfig(text); err != nil {
		return fmt.Sprintf("%q is not a port: write [address:][published:]target[/protocol], such as 8080:80", text)
	}
	return ""
}

func volumeProblem(text string) string {
	v, err := format.ParseVolume(text)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not a mount: write [source:]/target[:ro]", text)
	case v.Target == "":
		return fmt.Sprintf("%q has no target: write [source:]/target[:ro]", text)
	}
	// ParseVolume passes options over that it does not know
	if parts := strings.Split(text, ":"); len(parts) == 3 {
		for opt := range strings.SplitSeq(parts[2], ",") {
			if !slices.Contains(mountOptions, opt) {
				return fmt.Sprintf("unknown mount option %q%s", opt, didYouMean(opt, mountOptions))
			}
		}
	}
	return ""
}

var mountOptions = []string{
	"ro", "rw", "nocopy", "z", "Z", "cached", "delegated", "consistent", "private", "rprivate", "shared", "rshared", "slave", "rslave",
}
