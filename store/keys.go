package store

import (
	"fmt"
	"strings"

	"github.com/holdfast/holdfast"
)

// root is the prefix of all keys; a kind's name and the key within its table follow.
const root = "holdfast/"

// Kinds of key.
const (
	appKind     = "apps"
	serviceKind = "services"
	releaseKind = "releases"
	replicaKind = "replicas"
	statusKind  = "statuses"
	drainKind   = "drains"
	nodeKind    = "nodes"
	fileKind    = "files"
	eventKind   = "events"
	sealedKind  = "sealed"
	leaderKind  = "leaders"
	markKind    = "marks"
)

// ServiceKey is the key of a service in Snapshot.Services. With a "/" behind, it is the prefix of its releases' keys.
func ServiceKey(app, service string) string { return app + "/" + service }

// ReleaseKey is the key of a release in Snapshot.Releases.
func ReleaseKey(app, service string, number int) string {
	return fmt.Sprintf("%s/%s/%08d", app, service, number)
}

// FileKey is the key of a file in Snapshot.Files.
func FileKey(app, name, digest string) string { return app + "/" + name + "/" + digest }

// DrainKey is the key of a drain in Snapshot.Drains.
func DrainKey(replica, node string) string { return replica + "/" + node }

// SealedKey is the key of a value in Snapshot.Sealed.
func SealedKey(key, name string) string { return key + "/" + name }

// keyOf returns the kind of noun and its key in the kind's table; "" when it is none of the store's nouns.
func keyOf(noun any) (kind, key string) {
	switch v := noun.(type) {
	case *holdfast.App:
		return appKind, v.Name
	case *holdfast.Service:
		return serviceKind, ServiceKey(v.App, v.Name)
	case *holdfast.Release:
		return releaseKind, ReleaseKey(v.App, v.Service, v.Number)
	case *holdfast.Replica:
		return replicaKind, v.ID
	case *holdfast.Status:
		return statusKind, v.ID
	case *holdfast.Drain:
		return drainKind, DrainKey(v.Replica, v.Node)
	case *holdfast.Node:
		return nodeKind, v.ID
	case *holdfast.File:
		return fileKind, FileKey(v.App, v.Name, v.Digest)
	case *holdfast.Event:
		return eventKind, v.ID
	case *holdfast.Sealed:
		return sealedKind, SealedKey(v.Key, v.Name)
	case *leader:
		return leaderKind, v.Office
	case *mark:
		return markKind, v.Name
	}
	return "", ""
}

// revisionOf returns the revision at which the key of kind last changed as snap shows it; 0 when it is not there.
func revisionOf(snap *Snapshot, kind, key string) int64 {
	return snap.table(kind).revisionOf(key)
}

type revisioned interface{ revisionOf(key string) int64 }

func (s *Snapshot) table(kind string) revisioned {
	var table any
	switch kind {
	case appKind:
		table = s.Apps
	case serviceKind:
		table = s.Services
	case releaseKind:
		table = s.Releases
	case replicaKind:
		table = s.Replicas
	case statusKind:
		table = s.Statuses
	case drainKind:
		table = s.Drains
	case nodeKind:
		table = s.Nodes
	case fileKind:
		table = s.Files
	case eventKind:
		table = s.Events
	case sealedKind:
		table = s.Sealed
	case leaderKind:
		table = s.leaders
	case markKind:
		table = s.marks
	}
	return table.(revisioned)
}

// TableOf returns the name of the table that an engine's key belongs to: "replicas", "drains", … or "" for none.
func TableOf(key string) string {
	rest, ok := strings.CutPrefix(key, root)
	if !ok {
		return ""
	}
	table, _, _ := strings.Cut(rest, "/")
	return table
}

// FileName returns the name of the file that an engine's key belongs to, or "" when it is no file's.
func FileName(key string) string {
	parts := strings.Split(strings.TrimPrefix(key, root), "/") // kind, app, name, digest
	if TableOf(key) != fileKind || len(parts) != 4 {
		return ""
	}
	return parts[2]
}

// OfficeOf returns the office whose holder an engine's key tells, or "".
func OfficeOf(key string) string {
	office, _ := strings.CutPrefix(key, root+leaderKind+"/")
	if office == key {
		return ""
	}
	return office
}
