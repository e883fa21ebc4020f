// Package network gives the replicas of one node their addresses and decides who reaches whom.
//
// Each replica has a network namespace with one veth. There is no bridge: the node routes a /32 to each address of a
// replica, and the replica routes everything through Gateway (169.254.1.1 on the node's lo), which is the DNS server
// too. So a packet keeps its client's address wherever it goes, and every packet passes the node's rules:
//
//	replica eth0 ── veth hfv-… ─┬─ raw        drop a source address that is not routed to this veth
//	                            ├─ dstnat     service address → one of its ready replicas; host port → replica
//	                            ├─ forward    same network, published port or way out; else refuse
//	                            └─ srcnat     masquerade on the way out of a network that is not internal
//
// All rules are static; what changes are elements of sets and maps, in one nft transaction. Network.Apply takes the
// whole wanted state and writes the difference to what the kernel has, so it may be called as often as one likes and
// after any crash; an agent's restart changes nothing in the kernel.
//
// network/dns holds the DNS server, network/ipam the choice of addresses. The package works in the network namespace
// of the calling process. It may import the root package and libraries only.
package network
