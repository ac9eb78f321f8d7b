import { DatabaseSync } from "node:sqlite";

/** What a line of the settlement file says of the batch that it settles; credits as decimal text. */
export interface SettledLine {
  readonly key: string;
  readonly batch_id: string;
  readonly org_id: string;
  readonly credits: string;
}

/** Which file was read, and how far. */
interface ReadMark {
  /** The file's own number in its file system: one that took its place is another. */
  readonly inode: string;
  /** Bytes. */
  readonly offset: number;
}

/**
 * Where the lines of a settlement file are found by key and by organization, so that no process holds all of them in memory: an SQLite
 * database beside the file. The file is the record; this is made from it, and made anew where it is away or is that of another file.
 * Only for whoever holds the file's lock.
 */
export class JsonLinesIndex {
  readonly #database: DatabaseSync;

  /** Throws as SQLite does where the file cannot be made. */
  constructor(path: string) {
    this.#database = new DatabaseSync(path);
    this.#database.exec(`
      create table if not exists lines (key text primary key, batch_id text not null, org_id text not null, credits text not null) without rowid;
      create index if not exists lines_of_org on lines (org_id);
      create table if not exists read_mark (inode text not null, byte_offset integer not null)`);
  }

  /** How far this file was read; 0, and nothing is known, where it is another one or shorter than what was read. */
  offsetIn(file: { readonly inode: string; readonly bytes: number }): number {
    const mark = this.#database.prepare("select inode, byte_offset from read_mark").get() as
      | { readonly inode: string; readonly byte_offset: number }
      | undefined;
    if (mark?.inode === file.inode && mark.byte_offset <= file.bytes) return mark.byte_offset;
    this.#database.exec("begin; delete from lines; delete from read_mark; commit");
    return 0;
  }

  /** Notes lines and how far the file was read with them, both or neither. The first line of a key counts. */
  add(lines: readonly SettledLine[], mark: ReadMark): void {
    this.#database.exec("begin");
    try {
      const insert = this.#database.prepare("insert or ignore into lines (key, batch_id, org_id, credits) values (?, ?, ?, ?)");
      for (const line of lines) insert.run(line.key, line.batch_id, line.org_id, line.credits);
      this.#database.exec("delete from read_mark");
      this.#database.prepare("insert into read_mark (inode, byte_offset) values (?, ?)").run(mark.inode, mark.offset);
      this.#database.exec("commit");
    } catch (error) {
      this.#database.exec("rollback");
      throw error;
    }
  }

  find(key: string): SettledLine | undefined {
    return this.#database.prepare("select key, batch_id, org_id, credits from lines where key = ?").get(key) as SettledLine | undefined;
  }

  listOfOrg(orgId: string): readonly SettledLine[] {
    const statement = this.#database.prepare("select key, batch_id, org_id, credits from lines where org_id = ? order by key");
    return statement.all(orgId) as unknown as readonly SettledLine[];
  }

  close(): void {
    this.#database.close();
  }
}
