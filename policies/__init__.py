"""Policy packs, as data: one folder per pack and the schemas they are checked against."""
