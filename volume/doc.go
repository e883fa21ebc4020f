// Package volume keeps this node's volumes: directories (or mounts) that outlive the replicas that use them.
//
//	<dir>/<name>/volume.json   what it is; on disk before anyone uses it
//	<dir>/<name>/_data         what replicas see; or the mount point of a volume with driver options
//	<dir>/<name>/users/<id>    one empty file per replica that uses it
//	<dir>/.subpaths/<id>/…     mounts of paths inside volumes, for replica <id>
//	<dir>/.new-…, .gone-…      half made, half removed; Open clears them away
//
// A volume appears and disappears by one rename, and its first content counts from one rename on, so a crash at any
// moment leaves it whole or not there, and filled or empty.
// May import only the root package and libraries.
package volume
