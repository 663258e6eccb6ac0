"""One file a claim: each measures it on real data or a real server, and says whether it holds. Never packaged."""
