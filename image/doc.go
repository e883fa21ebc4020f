// Package image keeps the images of a node: a content-addressed OCI store on disk, filled by pulling, importing and
// pushing, each image's layers flattened into one read-only root file system that the container runtime mounts.
//
// What is in the store is durable and whole: content is written aside, checked against its digest, synced and renamed,
// and only then named in the index, which is replaced as a whole. A process killed at any point leaves a store that
// opens, holds all that was acknowledged, and nothing half-done that counts.
//
// image/rootfs flattens layers, image/erofs and image/plain write the result, image/build makes images in the CLI's
// process. May import those, the root package and libraries.
package image
