//===- DataTest.cpp - folders of images -----------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestSupport.h"
#include "ns/Runtime/BatchLoader.h"

#include <fstream>

using namespace ns::runtime;
using namespace ns::runtime::test;
namespace fs = std::filesystem;

static void addClass(const std::string &root, const std::string &split, const std::string &name,
                     int images = 1) {
  fs::create_directories(root + "/" + split + "/" + name);
  for (int i = 0; i < images; ++i)
    writePng(root + "/" + split + "/" + name + "/" + std::to_string(i) + ".png", Image(4, 4));
}

TEST(ImageFolder, ClassesSortAsNumbersSort) {
  TempFolder folder;
  for (const char *name : {"10", "2", "1", "0", "a10b"})
    addClass(folder.path, "val", name);
  auto data = openDataset(folder.path, "val", "", 5);
  ASSERT_EQ(data->size(), 5);
  std::vector<std::string> names;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(data->label(i), i);
    names.push_back(data->name(i));
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"0/0.png", "1/0.png", "2/0.png", "10/0.png", "a10b/0.png"}));
}

TEST(ImageFolder, ClassesOfTrainCountInVal) {
  TempFolder folder;
  for (const char *name : {"a", "b", "c"})
    addClass(folder.path, "train", name);
  addClass(folder.path, "val", "c", 2);
  auto data = openDataset(folder.path, "val", "", 3);
  EXPECT_EQ(data->size(), 2);
  EXPECT_EQ(data->label(0), 2);
  addClass(folder.path, "val", "zebra");
  addClass(folder.path, "val", "yak");
  EXPECT_HAS(errorOf([&] { openDataset(folder.path, "val", "", 3); }),
             "2 folders are no class of the model: yak, zebra");
}

TEST(ImageFolder, ClassMapNamesTheModelsClasses) {
  TempFolder folder;
  addClass(folder.path, "val", "dog");
  addClass(folder.path, "val", "cat");
  std::ofstream(folder / "map.txt") << "ant\r\ndog\ncat\n";
  auto data = openDataset(folder.path, "val", folder / "map.txt", 3);
  EXPECT_EQ(data->label(0), 2);
  EXPECT_EQ(data->label(1), 1);
  EXPECT_HAS(errorOf([&] { openDataset(folder.path, "val", folder / "map.txt", 4); }), "4 classes");
  EXPECT_HAS(errorOf([&] { openDataset(folder.path, "val", "", 3); }), "--class-map");
}

TEST(ImageFolder, MissingThingsAreNamed) {
  TempFolder folder;
  EXPECT_HAS(errorOf([] { openDataset("/nowhere", "val", "", 3); }), "/nowhere");
  EXPECT_HAS(errorOf([&] { openDataset(folder.path, "val", "", 3); }), "'val'");
  fs::create_directories(folder / "val/a");
  EXPECT_HAS(errorOf([&] { openDataset(folder.path, "val", "", 1); }), "found none");
  std::ofstream(folder / "val/a/x.png") << "no image";
  auto data = openDataset(folder.path, "val", "", 1);
  EXPECT_HAS(errorOf([&] { data->image(0); }), "val/a/x.png");
}

TEST(BatchLoader, PadsWithBlackOfWeightZero) {
  Workspace work(2);
  Session session(fake("library"));
  auto data = openDataset(work.folder.path, "val", "", 5);
  BatchLoader loader(session, *data);
  session.slot("image").set(190, 9);
  int64_t images[] = {9, 0};
  loader.load(images, 0.5);
  EXPECT_EQ(session.slot("labels").get(0), 4);
  EXPECT_EQ(session.slot("weights").get(1), 0.5);
  EXPECT_EQ(session.slot("weights").get(2), 0);
  EXPECT_EQ(session.slot("image").get(190), 0);
  Image first = data->image(9);
  EXPECT_FLOAT_EQ(session.slot("image").get(16),
                  first.pixels[1] / 255.f); // green plane, first pixel
}

TEST(BatchLoader, AnUnreadableImageLeavesTheParallelLoop) {
  Workspace work(2);
  std::ofstream(work.folder / "val/class3/0.png") << "gone";
  EXPECT_HAS(errorOf([&] { work.run("evaluate", "out", {}); }), "val/class3/0.png");
  EXPECT_FALSE(fs::exists(work.folder / "out/results.json"));
}

TEST(Dataset, SamplesOfFoldersAreSpread) {
  Workspace work(4);
  auto data = openDataset(work.folder.path, "val", "", 5);
  EXPECT_EQ(selectImages(*data, 5), (std::vector<int64_t>{0, 4, 8, 12, 16}));
  EXPECT_EQ(selectImages(*data, 0).size(), 20u);
  EXPECT_EQ(selectImages(*data, 99).size(), 20u);
}
