package compose

import (
	"strings"
	"sync"
)

// State says what is done with a key.
type State string

// States of a key.
const (
	Honoured State = "honoured" // does what Compose says
	Noted    State = "noted"    // accepted with a note: there is nothing to do for it here
	Refused  State = "refused"  // an error that names the key, its file and line
)

// Key is one row of the table of all keys of the Compose Specification. A path that ends in .* stands for the mapping
// and for the names that a user chooses in it; a noted or refused key stands for all that is below it.
type Key struct {
	Path  string // as compose-go's schema.AttributePaths writes it
	State State
	Note  string // what differs, or for a refused key why, and what to do
	// unless is a value that asks for nothing, so that the key is neither noted nor refused.
	unless any
}

// Keys is the table of all keys, in the order of the documentation.
var Keys = sync.OnceValue(func() []Key {
	var out []Key
	add := func(prefix string, keys []Key) {
		for _, k := range keys {
			k.Path = prefix + k.Path
			out = append(out, k)
		}
	}
	add("", topKeys)
	add("services.*.", serviceKeys)
	add("services.*.", workloadKeys)
	add("services.*.", containerKeys)
	add("services.*.pre_start.[].", hookKeys)
	add("jobs.*.", jobKeys)
	add("jobs.*.", workloadKeys)
	add("jobs.*.", containerKeys)
	add("networks.*.", networkKeys)
	add("volumes.*.", volumeKeys)
	add("secrets.*.", secretKeys)
	add("configs.*.", configKeys)
	return out
})

var topKeys = []Key{
	{Path: "name", State: Honoured},
	{Path: "version", State: Noted, Note: "obsolete: Compose itself ignores it"},
	{Path: "include", State: Honoured, Note: "files of this machine; remote ones are refused"},
	{Path: "include.[].path", State: Honoured},
	{Path: "include.[].project_directory", State: Honoured},
	{Path: "include.[].env_file", State: Honoured},
	{Path: "services.*", State: Honoured},
	{Path: "jobs.*", State: Honoured},
	{Path: "networks.*", State: Honoured},
	{Path: "volumes.*", State: Honoured},
	{Path: "secrets.*", State: Honoured},
	{Path: "configs.*", State: Honoured},
	{Path: "models", State: Refused, Note: "there is no model runner here: run the model's server as a service"},
}

var serviceKeys = []Key{
	{Path: "profiles", State: Honoured},
	{Path: "extends", State: Honoured},
	{Path: "extends.service", State: Honoured},
	{Path: "extends.file", State: Honoured, Note: "files of this machine; remote ones are refused"},
	{Path: "scale", State: Honoured},
	{Path: "restart", State: Honoured, Note: "no, always, on-failure[:attempts], unless-stopped (as always)"},
	{Path: "container_name", State: Honoured, Note: "a DNS name of the one replica; refused with several"},
	{Path: "links", State: Honoured, Note: "waits for the service; an alias is known to all services on its networks"},
	{Path: "external_links", State: Refused, Note: "containers outside the app have no names here: share a network with external: true"},
	{Path: "attach", State: Noted, Note: "`up` does not attach to output: read it with `holdfast logs`", unless: true},
	{Path: "develop", State: Noted, Note: "is for `docker compose watch`; `up` does not use it"},
	{Path: "provider", State: Refused, Note: "programs of Docker's that make services are not run: write the service itself"},
	{Path: "pre_start", State: Honoured},
	{Path: "post_start", State: Honoured},
	{Path: "post_start.[].command", State: Honoured},
	{Path: "post_start.[].user", State: Honoured},
	{Path: "post_start.[].privileged", State: Honoured},
	{Path: "post_start.[].working_dir", State: Honoured},
	{Path: "post_start.[].environment.*", State: Honoured},
	{Path: "pre_stop", State: Honoured, Note: "runs after the gateways have let go of the replica"},
	{Path: "pre_stop.[].command", State: Honoured},
	{Path: "pre_stop.[].user", State: Honoured},
	{Path: "pre_stop.[].privileged", State: Honoured},
	{Path: "pre_stop.[].working_dir", State: Honoured},
	{Path: "pre_stop.[].environment.*", State: Honoured},
	{Path: "deploy", State: Honoured},
	{Path: "deploy.mode", State: Honoured, Note: "replicated, global; for the -job modes use the top-level jobs"},
	{Path: "deploy.replicas", State: Honoured, Note: "0 to 10000"},
	{Path: "deploy.endpoint_mode", State: Honoured},
	{Path: "deploy.labels.*", State: Honoured},
	{Path: "deploy.placement", State: Honoured},
	{Path: "deploy.placement.constraints", State: Honoured, Note: "node.id, node.hostname, node.role, node.platform.os, node.platform.arch, node.labels.*, with == and !="},
	{Path: "deploy.placement.preferences", State: Honoured},
	{Path: "deploy.placement.preferences.[].spread", State: Honoured, Note: "node.labels.*"},
	{Path: "deploy.placement.max_replicas_per_node", State: Honoured},
	{Path: "deploy.resources", State: Honoured},
	{Path: "deploy.resources.limits", State: Honoured},
	{Path: "deploy.resources.limits.cpus", State: Honoured},
	{Path: "deploy.resources.limits.memory", State: Honoured},
	{Path: "deploy.resources.limits.pids", State: Honoured},
	{Path: "deploy.resources.reservations", State: Honoured},
	{Path: "deploy.resources.reservations.cpus", State: Honoured},
	{Path: "deploy.resources.reservations.memory", State: Honoured},
	{Path: "deploy.resources.reservations.devices", State: Refused, Note: noGPUs},
	{Path: "deploy.resources.reservations.generic_resources", State: Refused, Note: "nodes have no such resources: use placement.constraints with node labels"},
	{Path: "deploy.restart_policy", State: Honoured, Note: "goes before restart"},
	{Path: "deploy.restart_policy.condition", State: Honoured},
	{Path: "deploy.restart_policy.delay", State: Honoured, Note: "the first of a doubling delay, from the second failure in a row on"},
	{Path: "deploy.restart_policy.max_attempts", State: Honoured},
	{Path: "deploy.restart_policy.window", State: Honoured},
	{Path: "deploy.update_config", State: Honoured},
	{Path: "deploy.update_config.parallelism", State: Honoured, Note: "0 is all at once"},
	{Path: "deploy.update_config.delay", State: Honoured},
	{Path: "deploy.update_config.failure_action", State: Honoured},
	{Path: "deploy.update_config.monitor", State: Honoured},
	{Path: "deploy.update_config.max_failure_ratio", State: Honoured},
	{Path: "deploy.update_config.order", State: Honoured, Note: "start-first is refused where two replicas cannot be side by side"},
	{Path: "deploy.rollback_config", State: Honoured},
	{Path: "deploy.rollback_config.parallelism", State: Honoured},
	{Path: "deploy.rollback_config.delay", State: Honoured},
	{Path: "deploy.rollback_config.failure_action", State: Honoured, Note: "pause, continue"},
	{Path: "deploy.rollback_config.monitor", State: Honoured},
	{Path: "deploy.rollback_config.max_failure_ratio", State: Honoured},
	{Path: "deploy.rollback_config.order", State: Honoured},
}

const noGPUs = "GPUs are not handed to containers by this version: map the device with devices"

// hookKeys are those of an init container. It runs with the service's own settings.
var hookKeys = []Key{
	{Path: "image", State: Honoured},
	{Path: "command", State: Honoured, Note: "is run as it is, without the image's entrypoint"},
	{Path: "entrypoint", State: Honoured, Note: "is put before command"},
	{Path: "user", State: Honoured},
	{Path: "privileged", State: Honoured},
	{Path: "working_dir", State: Honoured},
	{Path: "environment.*", State: Honoured},
	{Path: "env_file", State: Honoured},
	{Path: "env_file.[].path", State: Honoured},
	{Path: "env_file.[].format", State: Honoured},
	{Path: "env_file.[].required", State: Honoured},
	{Path: "per_replica", State: Honoured},
	{Path: "*", State: Refused, Note: "a hook runs with the service's own settings: set it on the service"},
}

var jobKeys = []Key{
	{Path: "profiles", State: Honoured},
	{Path: "triggers", State: Honoured},
	{Path: "triggers.manual", State: Honoured, Note: "false is refused: a job can always be run by hand"},
	{Path: "triggers.schedule", State: Honoured},
	{Path: "triggers.schedule.[].cron", State: Honoured, Note: "five fields, or @hourly, @daily, @weekly, @monthly, @yearly, @every <duration>"},
	{Path: "triggers.schedule.[].timezone", State: Honoured},
	{Path: "triggers.schedule.[].concurrency", State: Honoured},
	{Path: "triggers.schedule.[].missed_fires", State: Honoured},
}

var networkKeys = []Key{
	{Path: "name", State: Honoured},
	{Path: "driver", State: Honoured, Note: "bridge and overlay, which are the same here: routed; others are refused"},
	{Path: "driver_opts", State: Refused, Note: "networks are routed, not a driver's: take it out"},
	{Path: "ipam", State: Honoured},
	{Path: "ipam.driver", State: Honoured, Note: "default only"},
	{Path: "ipam.config", State: Honoured},
	{Path: "ipam.config.[].subnet", State: Honoured, Note: "one IPv4 subnet"},
	{Path: "ipam.config.[].gateway", State: Noted, Note: "the way out of every container is 169.254.1.1: this address stays an ordinary one"},
	{Path: "ipam.config.[].ip_range", State: Refused, Note: "addresses are given from the whole subnet: make the subnet smaller"},
	{Path: "ipam.config.[].aux_addresses", State: Refused, Note: "no addresses are kept back: make the subnet smaller"},
	{Path: "ipam.options", State: Refused, Note: "there is no such driver: take it out"},
	{Path: "external", State: Honoured},
	{Path: "external.name", State: Honoured, Note: "the old form of name"},
	{Path: "internal", State: Honoured},
	{Path: "enable_ipv4", State: Refused, Note: "networks are IPv4: it cannot be turned off", unless: true},
	{Path: "enable_ipv6", State: Refused, Note: "IPv6 is not in this version", unless: false},
	{Path: "attachable", State: Noted, Note: "only apps attach to networks here"},
	{Path: "labels.*", State: Honoured},
}

var volumeKeys = []Key{
	{Path: "name", State: Honoured},
	{Path: "driver", State: Honoured, Note: "local only"},
	{Path: "driver_opts.*", State: Honoured, Note: "type, o, device"},
	{Path: "external", State: Honoured},
	{Path: "external.name", State: Honoured, Note: "the old form of name"},
	{Path: "labels.*", State: Honoured},
}

var secretKeys = []Key{
	{Path: "name", State: Noted, Note: "services name a secret by its key; nothing outside the app sees it"},
	{Path: "file", State: Honoured, Note: "at most 500 KiB; read when the file is loaded"},
	{Path: "environment", State: Honoured},
	{Path: "external", State: Refused, Note: "there is no store of secrets outside of apps: give file or environment", unless: false},
	{Path: "labels", State: Noted, Note: "nothing reads them"},
	{Path: "driver", State: Refused, Note: "there is no store of secrets outside of apps: give file or environment"},
	{Path: "driver_opts", State: Refused, Note: "there is no store of secrets outside of apps: give file or environment"},
	{Path: "template_driver", State: Refused, Note: "contents are not templates: fill them in before"},
}

var configKeys = []Key{
	{Path: "name", State: Noted, Note: "services name a config by its key; nothing outside the app sees it"},
	{Path: "file", State: Honoured, Note: "at most 1 MiB; read when the file is loaded"},
	{Path: "content", State: Honoured},
	{Path: "environment", State: Honoured},
	{Path: "external", State: Refused, Note: "there is no store of configs outside of apps: give file, content or environment", unless: false},
	{Path: "labels", State: Noted, Note: "nothing reads them"},
	{Path: "template_driver", State: Refused, Note: "contents are not templates: fill them in before"},
}

// row is a node of the table as a tree.
type row struct {
	key  *Key
	next map[string]*row
}

var keyTree = sync.OnceValue(func() *row {
	root := &row{next: map[string]*row{}}
	for _, k := range Keys() {
		r := root
		free := false
		path := k.Path
		if rest, ok := strings.CutSuffix(path, ".*"); ok && rest != "services.*.pre_start.[]" {
			path, free = rest, true
		}
		for part := range strings.SplitSeq(path, ".") {
			if r.next[part] == nil {
				r.next[part] = &row{next: map[string]*row{}}
			}
			r = r.next[part]
		}
		r.key = &k
		if free && r.next["*"] == nil {
			r.next["*"] = &row{key: &k, next: map[string]*row{}}
		}
	}
	return root
})

// child returns the row for a key or list item below r.
func (r *row) child(part string) *row {
	if next, ok := r.next[part]; ok {
		return next
	}
	if isIndex(part) && r.next["[]"] != nil {
		return r.next["[]"]
	}
	return r.next["*"]
}

// free reports whether users choose the names below r.
func (r *row) free() bool {
	named := r.next["*"]
	return named != nil && (named.key == nil || named.key.State == Honoured)
}
