package compose

import (
	"os"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/holdfast/holdfast"
)

// databases are names of images and Debian packages whose servers keep data. A name matches alone or with a version
// or part after a dash: postgresql-15, redis-server.
var databases = []string{
	"cassandra", "clickhouse", "clickhouse-server", "cockroach", "couchbase", "couchdb", "elasticsearch", "etcd",
	"eventstore", "influxdb", "kafka", "keydb", "mariadb", "memcached", "minio", "mongo", "mongodb", "mssql", "mysql", "nats",
	"neo4j", "opensearch", "percona", "postgis", "postgres", "postgresql", "pgvector", "rabbitmq", "redis", "rethinkdb",
	"scylla", "surrealdb", "timescaledb", "typesense", "valkey", "victoria-metrics", "zookeeper",
}

// kind settles whether the service keeps its clients' context, and says why.
func (e *entry) kind() {
	s := &e.spec
	switch {
	case e.x.Kind != "":
		s.Kind, s.KindReason = e.x.Kind, "declared"
		return
	case e.job:
		s.Kind, s.KindReason = holdfast.Stateless, "a job runs to its end"
	default:
		s.Kind, s.KindReason = e.inferKind()
	}
	e.defaulted = append(e.defaulted, "kind")
	if s.Kind == holdfast.Stateful {
		e.remark(at(), "taken as stateful: %s (x-holdfast: {kind: …} declares it)", s.KindReason)
	}
}

func (e *entry) inferKind() (holdfast.Kind, string) {
	if name := e.databaseName(); name != "" {
		return holdfast.Stateful, name + " is a database"
	}
	if why := e.dataMount(); why != "" {
		return holdfast.Stateful, why
	}
	return holdfast.Stateless, "keeps nothing: no volume, no writable directory of the node, no known database"
}

// databaseName returns which known database the service's image or packages are, or "".
func (e *entry) databaseName() string {
	var names []string
	if e.source != nil && e.source.Debian != nil {
		names = e.source.Debian.Packages
	} else if e.source == nil || e.source.Build == nil {
		names = []string{imageName(e.c.Image)}
	}
	for _, name := range names {
		for _, db := range databases {
			if name == db || strings.HasPrefix(name, db+"-") && !clientPackage(name) {
				return name
			}
		}
	}
	return ""
}

// clientPackage reports whether a package only talks to a database, or is something beside one.
func clientPackage(name string) bool {
	for _, part := range []string{"client", "exporter", "tools", "admin", "express", "backup", "commander", "proxy", "sentinel-exporter", "insight"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// imageName is the last part of an image's name, without tag.
func imageName(image string) string {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	name := reference.Path(ref)
	return name[strings.LastIndexByte(name, '/')+1:]
}

// dataMount says which mount keeps data that outlives a replica, or "".
func (e *entry) dataMount() string {
	for _, m := range e.spec.Mounts {
		switch {
		case m.ReadOnly:
		case m.Type == "volume" && m.Source != "":
			return "writes to the volume " + m.Source + " at " + m.Target
		case m.Type == "bind" && keepsData(m.Source):
			return "writes to the node's directory " + m.Source + " at " + m.Target
		}
	}
	return ""
}

// keepsData reports whether a bind mount may be a data directory: not a file or socket, and not the node's own.
func keepsData(source string) bool {
	for _, system := range []string{"/dev", "/proc", "/sys", "/run", "/var/run", "/etc", "/lib/modules", "/tmp/.X11-unix"} {
		if source == system || strings.HasPrefix(source, system+"/") {
			return false
		}
	}
	if source == "/" {
		return false
	}
	info, err := os.Stat(source)
	return err != nil || info.IsDir()
}

// cannotShare reports a database of several replicas on one volume: its data would be destroyed.
func (e *entry) cannotShare() {
	if !e.several() || e.databaseName() == "" {
		return
	}
	i := slices.IndexFunc(e.spec.Mounts, func(m holdfast.Mount) bool { return m.Type == "volume" && m.Source != "" && !m.ReadOnly })
	if i < 0 {
		return
	}
	key := at("deploy", "replicas")
	if e.sets("scale") {
		key = at("scale")
	}
	e.bad(key, "%s cannot run %d replicas on one volume (%s): they would destroy its data", e.databaseName(), e.spec.Replicas,
		e.spec.Mounts[i].Source)
}
